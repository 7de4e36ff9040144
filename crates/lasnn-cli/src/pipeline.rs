//! The stages of a recipe.
//!
//! Teacher and intermediate network are trained (`ann`), the intermediate network is converted into
//! a spiking network (`conversion`), and the spiking network is trained (`student`). Each stage
//! takes its network from this run's folder or from the cache if it is there (`session`).

mod ann;
mod conversion;
pub mod measure;
mod session;
mod student;
mod training;
mod training_observer;

pub use session::Session;

use crate::device::TrainingBackend;
use crate::stage::{AnnStage, StageName};

/// The stage with which a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// One ANN.
    Train(AnnStage),
    /// The converted network.
    Convert,
    /// The distilled student.
    Distill,
    /// All stages of the recipe.
    Run,
}

impl Goal {
    /// The name of the command.
    pub fn command(self) -> &'static str {
        match self {
            Self::Train(AnnStage::Teacher) => "train teacher",
            Self::Train(AnnStage::Intermediate) => "train intermediate",
            Self::Convert => "convert",
            Self::Distill => "distill",
            Self::Run => "run",
        }
    }
}

/// Runs or reuses all stages up to `goal`.
///
/// # Errors
///
/// Fails as the stages do, and if a signal comes.
pub fn run<A: TrainingBackend>(
    session: &mut Session<'_>,
    goal: Goal,
    device: &A::Device,
) -> anyhow::Result<()> {
    if goal == Goal::Train(AnnStage::Intermediate) {
        ann::run_or_reuse::<A>(session, StageName::Intermediate, device)?;
        return Ok(());
    }
    let teacher = match goal {
        Goal::Convert => None,
        _ => Some(ann::run_or_reuse::<A>(session, StageName::Teacher, device)?),
    };
    if goal == Goal::Train(AnnStage::Teacher) {
        return Ok(());
    }
    let intermediate = ann::run_or_reuse::<A>(session, StageName::Intermediate, device)?;
    let converted = conversion::run_or_reuse::<A>(session, &intermediate, device)?;
    let Some(teacher) = teacher else { return Ok(()) };
    student::run_or_reuse::<A>(session, StageName::Student, &converted, &teacher, device)?;
    if goal == Goal::Run && session.recipe.student.without_distillation {
        student::run_or_reuse::<A>(session, StageName::Control, &converted, &teacher, device)?;
    }
    Ok(())
}
