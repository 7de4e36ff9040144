//! The parts of a run record.

use serde::{Deserialize, Serialize};

use crate::escape::printable;
use crate::stage::StageName;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The run has a summary.
    Ended,
    /// A process works in the run.
    Running,
    /// The run has no summary, and no process works in it.
    CutOff,
    /// The summary cannot be read.
    Damaged,
}

impl State {
    /// The state in words.
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
    /// The hash of the commit.
    pub commit: Option<String>,
    /// Whether tracked files differed from the commit.
    pub dirty: Option<bool>,
}

impl Git {
    /// The first digits of the commit. A star follows if tracked files differed from it.
    pub fn short(&self) -> Option<String> {
        let short: String = self.commit.as_ref()?.chars().take(8).collect();
        let star = if self.dirty == Some(true) { "*" } else { "" };
        Some(format!("{}{star}", printable(&short)))
    }
}

/// The data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// The name of the data set.
    pub name: Option<String>,
    /// SHA-256 of the data.
    pub sha256: Option<String>,
}

/// A finished stage.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// The name of the stage.
    pub stage: StageName,
    /// The results.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// The mean firing rate of the network, in spikes per neuron and time step. Only `runs compare`
    /// computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firing_rate: Option<f64>,
}

impl Stage {
    /// Whether the stage has made a spiking network.
    pub fn is_spiking(&self) -> bool {
        self.numbers.time_steps.is_some()
    }

    /// The name in a table for a person. `is_distilled` says whether the run has a teacher.
    pub fn title(&self, is_distilled: bool) -> String {
        self.stage.title(self.is_spiking(), is_distilled)
    }
}

/// The results of a stage. Runs of older versions may lack some of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Numbers {
    /// The share of the test images that are classified correctly.
    pub test_accuracy: Option<f64>,
    /// The wall time in seconds.
    pub seconds: Option<f64>,
    /// Whether the result was taken from an earlier run.
    pub reused: Option<bool>,
    /// The number of time steps per image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_steps: Option<usize>,
    /// The spikes of all layers in all time steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spikes_per_image: Option<f64>,
    /// The synaptic operations: additions that spikes cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synops_per_image: Option<f64>,
    /// The estimated energy in picojoules; docs/summary.md has the formula.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_pj_per_image: Option<f64>,
}
