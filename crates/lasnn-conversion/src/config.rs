//! The `conversion` table of a recipe.

use std::ops::RangeInclusive;

use lasnn_core::Kind;
use serde::{Deserialize, Serialize};

use crate::calibrations::CalibrationConfig;
use crate::error::{ConversionError, wrong};
use crate::methods::MethodConfig;

/// Thresholds and their products are stored in single precision, in which another factor overflows
/// or vanishes.
const SCALES: RangeInclusive<f64> = 1e-6..=1e6;

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
    /// The scale of the class scores.
    pub class_scores: ClassScores,
    /// If above 0, all neurons get the additional constant current `v / (2 shift_steps)`, with
    /// their threshold `v` (Deng and Gu, 2021). Over `shift_steps` time steps this adds half a
    /// threshold, so that the firing rate is the activation rounded instead of rounded down. Every
    /// layer needs a bias, which takes the current.
    pub shift_steps: usize,
    /// What is corrected after the conversion, layer by layer, from the difference of the two
    /// networks.
    pub calibration: Vec<CalibrationConfig>,
}

/// The scale of the class scores of a converted network. It changes no prediction, but the
/// temperature of the softmax, and so the loss with which a student begins its training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassScores {
    /// The mean logits over the time steps have the scale of the ordinary network's.
    #[default]
    Ann,
    /// The last layer has the weights of the ordinary network, so that the mean logits are the
    /// ordinary network's divided by what a spike of the layer before stands for.
    Raw,
}

impl ClassScores {
    /// The names of all scales.
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "ann",
            about: "the mean logits have the ordinary network's scale",
            source: "",
        },
        Kind {
            name: "raw",
            about: "the last layer has the ordinary network's weights",
            source: "Sengupta et al. 2019, LaSNN",
        },
    ];
}

impl Default for ConversionConfig {
    fn default() -> Self {
        Self {
            time_steps: 100,
            batches: 1,
            batch: 512,
            method: MethodConfig::default(),
            scale: 1.0,
            class_scores: ClassScores::default(),
            shift_steps: 0,
            calibration: Vec::new(),
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
        if !SCALES.contains(&self.scale) {
            let expected = "a number above 0, from 1e-6 to 1e6";
            return Err(wrong("conversion.scale", self.scale, expected));
        }
        self.method.check()?;
        for (index, calibration) in self.calibration.iter().enumerate() {
            calibration.check()?;
            if self.calibration[..index].iter().any(|other| other.name() == calibration.name()) {
                return Err(ConversionError::Value {
                    key: "conversion.calibration",
                    found: format!("twice `{}`", calibration.name()),
                    expected: "each kind at most once",
                });
            }
        }
        Ok(())
    }
}
