//! The three stages of a recipe.

mod conversion;
pub mod measure;
mod ordinary;
mod session;
mod student;
mod watch;

pub use session::Session;

use crate::device::TrainingBackend;
use crate::stage::{AnnStage, StageName};

/// How far a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// One ordinary network.
    Train(AnnStage),
    /// The converted network.
    Convert,
    /// The distilled student.
    Distill,
    /// Everything in the recipe.
    Run,
}

impl Goal {
    /// The name of its command.
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

/// Does what a command asks for, stage by stage.
///
/// # Errors
///
/// Fails as the stages do, and when a signal comes.
pub fn run<A: TrainingBackend>(
    session: &mut Session<'_>,
    goal: Goal,
    device: &A::Device,
) -> anyhow::Result<()> {
    if goal == Goal::Train(AnnStage::Intermediate) {
        ordinary::obtain::<A>(session, StageName::Intermediate, device)?;
        return Ok(());
    }
    let teacher = match goal {
        Goal::Convert => None,
        _ => Some(ordinary::obtain::<A>(session, StageName::Teacher, device)?),
    };
    if goal == Goal::Train(AnnStage::Teacher) {
        return Ok(());
    }
    let intermediate = ordinary::obtain::<A>(session, StageName::Intermediate, device)?;
    let converted = conversion::obtain::<A>(session, &intermediate, device)?;
    let Some(teacher) = teacher else { return Ok(()) };
    student::obtain::<A>(session, StageName::Student, &converted, &teacher, device)?;
    if goal == Goal::Run && session.recipe.student.without_distillation {
        student::obtain::<A>(session, StageName::Control, &converted, &teacher, device)?;
    }
    Ok(())
}
