//! The parts of what is known of a run.

use serde::{Deserialize, Serialize};

use crate::printable::printable;
use crate::stage::StageName;

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has a summary.
    Ended,
    /// A process works in it.
    Running,
    /// It has no summary, and no process works in it.
    CutOff,
    /// Its summary cannot be read.
    Damaged,
}

impl State {
    /// A word for it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Running => "running",
            Self::CutOff => "cut off",
            Self::Damaged => "damaged",
        }
    }
}

/// The commit of the source tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Git {
    /// Its hash.
    pub commit: Option<String>,
    /// Whether tracked files differed from it.
    pub dirty: Option<bool>,
}

impl Git {
    /// The first digits of the commit, with a star if files differed from it.
    pub fn short(&self) -> Option<String> {
        let short: String = self.commit.as_ref()?.chars().take(8).collect();
        let star = if self.dirty == Some(true) { "*" } else { "" };
        Some(format!("{}{star}", printable(&short)))
    }
}

/// The images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// The source's name.
    pub name: Option<String>,
    /// SHA-256 of the data.
    pub sha256: Option<String>,
}

/// A stage that is done.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Which.
    pub stage: StageName,
    /// What it is worth.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// Spikes per neuron and time step over the whole network. `runs compare` alone computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firing_rate: Option<f64>,
}

/// The numbers of a stage; older versions may lack some.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Numbers {
    /// Share of the test images classified correctly.
    pub test_accuracy: Option<f64>,
    /// Wall time in seconds.
    pub seconds: Option<f64>,
    /// Whether the result came from an earlier run.
    pub reused: Option<bool>,
    /// Steps simulated per image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_steps: Option<usize>,
    /// Spikes of all layers in all steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spikes_per_image: Option<f64>,
    /// Additions caused by spikes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synops_per_image: Option<f64>,
    /// The estimate of docs/summary.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_pj_per_image: Option<f64>,
}
