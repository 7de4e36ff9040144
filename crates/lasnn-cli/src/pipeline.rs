//! The stages of a recipe.
//!
//! A stage trains an ANN (`ann`), converts one into a spiking network (`conversion`), or trains a
//! spiking network (`student`). Each of them implements the trait [`Stage`]. A command runs the
//! stages that its goal needs. Each takes its network from this run's folder or from the cache, if
//! it is there (`session`).

pub mod ann;
mod conversion;
pub mod measure;
mod outputs;
mod session;
mod stage;
mod student;
mod teacher;
mod training;
mod training_observer;

pub use session::Session;

use crate::device::TrainingBackend;
use crate::recipe::{Graph, Node, UnknownStage, Work};
use crate::stage::StageName;
use outputs::Outputs;
use stage::Stage;

/// The stage with which a command ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A stage that trains a network.
    Train(StageName),
    /// The converted network.
    Convert,
    /// The student.
    Distill,
    /// All spiking networks that the recipe trains.
    Run,
}

impl Goal {
    /// The name of the command.
    pub fn command(&self) -> String {
        match self {
            Self::Train(stage) => format!("train {stage}"),
            Self::Convert => "convert".into(),
            Self::Distill => "distill".into(),
            Self::Run => "run".into(),
        }
    }

    /// The stages that the command runs, in their order.
    ///
    /// # Errors
    ///
    /// Lists the stages of the recipe if the one with which the command ends is not among them.
    pub fn stages<'g, 'a>(&self, graph: &'g Graph<'a>) -> Result<Vec<&'g Node<'a>>, UnknownStage> {
        let target = match self {
            Self::Train(stage) => stage.clone(),
            Self::Convert => StageName::CONVERTED,
            Self::Distill => StageName::STUDENT,
            Self::Run => return Ok(graph.needed(&graph.students())),
        };
        graph.get(&target)?;
        Ok(graph.needed(&[target]))
    }
}

/// Runs or reuses stages. Each comes after those whose networks it needs.
///
/// # Errors
///
/// Fails as the stages do, and if a signal comes.
pub fn run<A: TrainingBackend>(
    session: &mut Session<'_>,
    stages: &[&Node<'_>],
    device: &A::Device,
) -> anyhow::Result<()> {
    let mut outputs = Outputs::default();
    for node in stages {
        let output = session.run_or_reuse::<A>(&*stage_of::<A>(node), &outputs, device)?;
        outputs.add(node.name(), output);
    }
    Ok(())
}

/// What a stage of a recipe does.
fn stage_of<'a, A: TrainingBackend>(node: &'a Node<'a>) -> Box<dyn Stage<A> + 'a> {
    match &node.work {
        Work::Ann(work) => Box::new(ann::Ann { node, work }),
        Work::Conversion { from } => Box::new(conversion::Conversion { node, from }),
        Work::Student(work) => Box::new(student::Student { node, work }),
    }
}
