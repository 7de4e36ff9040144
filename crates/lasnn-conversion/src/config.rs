//! How a recipe says how a network is converted.

use serde::{Deserialize, Serialize};

use crate::error::ConversionError;
use crate::threshold::Policy;

/// The `conversion` table of a recipe: threshold balancing (Sengupta et al., 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConversionConfig {
    /// How long each layer is calibrated. The paper's line of work takes 1000 to 2500 with Poisson
    /// input; with direct encoding a few times the student's own number of steps is enough.
    pub time_steps: usize,
    /// How many batches of training images are calibrated.
    pub batches: usize,
    /// Images per batch.
    pub batch: usize,
    /// How a threshold follows from the weighted input sums.
    pub policy: Policy,
    /// Every threshold is multiplied by this in the end. Below 1 neurons fire earlier, which a
    /// network with few time steps needs.
    pub scale: f64,
}

impl Default for ConversionConfig {
    fn default() -> Self {
        Self { time_steps: 100, batches: 1, batch: 512, policy: Policy::default(), scale: 1.0 }
    }
}

impl ConversionConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// Names the key, the value and what was expected.
    pub fn check(&self) -> Result<(), ConversionError> {
        let counts = [
            ("conversion.time_steps", self.time_steps),
            ("conversion.batches", self.batches),
            ("conversion.batch", self.batch),
        ];
        if let Some((key, count)) = counts.into_iter().find(|&(_, count)| count == 0) {
            return Err(value(key, count as f64, "at least 1"));
        }
        // In single precision, in which thresholds are stored.
        let scale = self.scale as f32;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(value("conversion.scale", self.scale, "a number above 0"));
        }
        match self.policy {
            Policy::Percentile { percentile } if !(percentile > 0.0 && percentile <= 100.0) => {
                Err(value("conversion.policy.percentile", percentile, "above 0 and at most 100"))
            }
            _ => Ok(()),
        }
    }
}

fn value(key: &'static str, found: f64, expected: &'static str) -> ConversionError {
    ConversionError::Value { key, found: found.to_string(), expected }
}
