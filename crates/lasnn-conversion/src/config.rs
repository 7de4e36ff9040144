//! The `conversion` table of a recipe.

use serde::{Deserialize, Serialize};

use crate::error::{ConversionError, wrong};
use crate::methods::MethodConfig;

/// How an ordinary network is converted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConversionConfig {
    /// The number of time steps for which each layer is calibrated. The literature that the paper
    /// follows uses 1000 to 2500 with Poisson input. With direct encoding a few times the student's
    /// number of time steps is enough.
    pub time_steps: usize,
    /// The number of batches of training images for calibration.
    pub batches: usize,
    /// Images per batch.
    pub batch: usize,
    /// How the thresholds are found.
    pub method: MethodConfig,
    /// Factor by which every threshold is multiplied. With a factor below 1 neurons fire
    /// earlier, which a network with few time steps needs.
    pub scale: f64,
}

impl Default for ConversionConfig {
    fn default() -> Self {
        Self {
            time_steps: 100,
            batches: 1,
            batch: 512,
            method: MethodConfig::default(),
            scale: 1.0,
        }
    }
}

impl ConversionConfig {
    /// Checks that every number is in its range.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the expected range.
    pub fn check(&self) -> Result<(), ConversionError> {
        let counts = [
            ("conversion.time_steps", self.time_steps),
            ("conversion.batches", self.batches),
            ("conversion.batch", self.batch),
        ];
        if let Some((key, count)) = counts.into_iter().find(|&(_, count)| count == 0) {
            return Err(wrong(key, count as f64, "at least 1"));
        }
        // Thresholds are stored in single precision, so the factor must not overflow or vanish
        // there.
        let scale = self.scale as f32;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(wrong("conversion.scale", self.scale, "a number above 0"));
        }
        self.method.check()
    }
}
