//! The learning rate over the epochs.

use serde::{Deserialize, Serialize};

use crate::config::check;
use crate::error::ConfigError;

/// By which factor the learning rate of an epoch differs from the first one's.
///
/// Variants without keys are written with braces, for serde would let unknown keys beside a bare
/// one pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Multiplied by `factor` at each milestone.
    Steps {
        /// Shares of the epochs, ascending; the rate falls at epoch `floor(share · epochs)`.
        #[serde(default = "default_milestones")]
        milestones: Vec<f64>,
        /// What the rate is multiplied with.
        #[serde(default = "default_factor")]
        factor: f64,
    },
    /// Half a cosine wave: `(1 + cos(π epoch / epochs)) / 2`. It would be 0 after the last epoch.
    Cosine {},
    /// The same for all epochs.
    Constant {},
}

fn default_milestones() -> Vec<f64> {
    vec![0.6, 0.8, 0.9]
}

fn default_factor() -> f64 {
    0.1
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Steps { milestones: default_milestones(), factor: default_factor() }
    }
}

impl Schedule {
    /// The factor of `epoch` (counted from 0) in a run of `epochs`.
    pub fn factor(&self, epoch: u32, epochs: u32) -> f64 {
        match self {
            Self::Steps { milestones, factor } => {
                let passed = milestones.iter().filter(|&&share| {
                    // 0.6 of 5 epochs must be 3, and 0.6 * 5.0 may fall just below.
                    f64::from(epoch) >= (share * f64::from(epochs) + 1e-9).floor()
                });
                factor.powi(passed.count() as i32)
            }
            Self::Cosine {} => {
                let angle = std::f64::consts::PI * f64::from(epoch) / f64::from(epochs);
                0.5 * (1.0 + angle.cos())
            }
            Self::Constant {} => 1.0,
        }
    }

    /// Checks the constants.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let Self::Steps { milestones, factor } = self else { return Ok(()) };
        check(
            milestones.is_sorted() && milestones.iter().all(|share| (0.0..=1.0).contains(share)),
            "schedule.milestones",
            format!("{milestones:?}"),
            "shares of the epochs from 0 to 1, ascending",
        )?;
        check(
            *factor > 0.0 && *factor <= 1.0,
            "schedule.factor",
            factor,
            "a number above 0, at most 1",
        )
    }
}
