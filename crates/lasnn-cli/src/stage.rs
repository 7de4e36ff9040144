//! The stages of a recipe.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The stage that trains one of the two networks that do not spike (ANNs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AnnStage {
    /// The network that the student learns from.
    Teacher,
    /// The network that is converted into the student.
    Intermediate,
}

/// A stage, named after the network that it produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// The network that the student learns from.
    Teacher,
    /// The network that is converted into the student.
    Intermediate,
    /// The spiking network before training.
    Converted,
    /// The distilled spiking network.
    Student,
    /// The spiking network trained without distillation.
    Control,
}

impl StageName {
    /// All stages in the order of a report. The student is the result of a run, so it comes last.
    pub const REPORTED: [Self; 5] =
        [Self::Teacher, Self::Intermediate, Self::Converted, Self::Control, Self::Student];

    /// The name that files, messages and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Intermediate => "intermediate",
            Self::Converted => "converted",
            Self::Student => "student",
            Self::Control => "control",
        }
    }

    /// The name that `summary.json` and `metrics.jsonl` use.
    pub fn in_summary(self) -> &'static str {
        match self {
            Self::Converted => "conversion",
            Self::Control => "student_without_distillation",
            other => other.name(),
        }
    }

    /// The name in a table for a person.
    pub fn title(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Intermediate => "intermediate ANN",
            Self::Converted => "converted SNN, not trained",
            Self::Control => "SNN without distillation",
            Self::Student => "distilled SNN",
        }
    }

    /// Whether the stage produces a spiking network.
    pub fn is_spiking(self) -> bool {
        !matches!(self, Self::Teacher | Self::Intermediate)
    }

    /// The table of a recipe that holds the layers of the stage's network.
    pub fn table(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            _ => "intermediate",
        }
    }
}
