//! The table of calibrations, and one module for each of them.
//!
//! A calibration changes a converted network where it differs from the ordinary one on the images
//! for calibration. Layers of neurons are calibrated one after the other, from the image on, so
//! that a layer sees what the corrected layers before it send. At each layer all calibrations of
//! the recipe run, in the order of the recipe.

pub mod batch_norm;
pub mod bias;
pub mod potential;
pub mod weights;

use std::cell::Cell;
use std::ops::ControlFlow;

use burn::tensor::Tensor;
use lasnn_core::{Batch, Kind};
use lasnn_neurons::SpikingBackend;
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::{Progress, Task};
use serde::{Deserialize, Serialize};

use crate::ann::Ann;
use crate::convert::Balancing;
use crate::error::ConversionError;
use crate::measure::measure;
use crate::scales::{LayerScales, by_channel, scales};

pub use batch_norm::BatchNormCalibration;
pub use bias::BiasCalibration;
pub use potential::PotentialCalibration;
pub use weights::WeightCalibration;

pub use crate::measure::Measured;

/// What a network must have so that it can be calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A bias in every layer of neurons.
    Biases,
    /// An ordinary network with batch norms.
    BatchNorms,
    /// An initial membrane potential of each neuron.
    Potentials,
}

/// The words with which a list of calibrations describes one of them, and the range of its numbers.
pub trait CalibrationKind {
    /// The name in a recipe: the `kind` of an entry of `conversion.calibration`.
    const NAME: &'static str;
    /// What is corrected, in one sentence.
    const ABOUT: &'static str;
    /// The publication that has the calibration.
    const SOURCE: &'static str;
    /// What the network must have.
    const NEED: Option<Need>;

    /// Checks that every number is in its range.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the expected range.
    fn check(&self) -> Result<(), ConversionError> {
        Ok(())
    }
}

/// Corrects one layer of neurons.
pub trait Calibration<B: SpikingBackend> {
    /// Returns the network with a corrected layer.
    ///
    /// # Errors
    ///
    /// Names the layer that cannot be corrected. [`ConversionError::Interrupted`] if the progress
    /// function stopped the calibration.
    fn calibrate(
        &self,
        network: SpikingNetwork<B>,
        layer: &CalibratedLayer<'_, B>,
    ) -> Result<SpikingNetwork<B>, ConversionError>;
}

/// Declares the enum [`CalibrationConfig`] and its table.
macro_rules! calibrations {
    ($($variant:ident: $module:ident::$calibration:ident),+ $(,)?) => {
        /// A calibration with its numbers: an entry of `conversion.calibration` in a recipe.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum CalibrationConfig {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($calibration), "`].")]
                $variant($module::$calibration),
            )+
        }

        impl CalibrationConfig {
            /// All calibrations, for `lasnn list`.
            pub const KINDS: &'static [Kind] = &[$(
                Kind {
                    name: <$module::$calibration as CalibrationKind>::NAME,
                    about: <$module::$calibration as CalibrationKind>::ABOUT,
                    source: <$module::$calibration as CalibrationKind>::SOURCE,
                }
            ),+];

            /// The name in a recipe.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$module::$calibration as CalibrationKind>::NAME,)+
                }
            }

            /// What the network must have.
            pub fn need(&self) -> Option<Need> {
                match self {
                    $(Self::$variant(_) => <$module::$calibration as CalibrationKind>::NEED,)+
                }
            }

            /// Checks that every number is in its range.
            ///
            /// # Errors
            ///
            /// Names the key, the value and the expected range.
            pub fn check(&self) -> Result<(), ConversionError> {
                match self {
                    $(Self::$variant(calibration) => calibration.check(),)+
                }
            }

            /// This calibration on a backend.
            pub fn on<B: SpikingBackend>(&self) -> &dyn Calibration<B> {
                match self {
                    $(Self::$variant(calibration) => calibration,)+
                }
            }

            #[cfg(test)]
            fn defaults() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),+]
            }
        }
    };
}

calibrations! {
    BatchNorm: batch_norm::BatchNormCalibration,
    Bias: bias::BiasCalibration,
    Potential: potential::PotentialCalibration,
    Weights: weights::WeightCalibration,
}

/// A layer of neurons that is calibrated.
pub struct CalibratedLayer<'a, B: SpikingBackend> {
    /// Its number, counted from the image.
    pub number: usize,
    /// Its name.
    pub name: &'a str,
    /// Its thresholds: one, or one for each channel.
    pub thresholds: &'a [f32],
    /// What its currents stand for.
    pub scales: &'a LayerScales,
    /// The ordinary network.
    pub ann: Ann<'a, B>,
    /// The images for calibration.
    pub balancing: Balancing<'a>,
    /// The device of the network.
    pub device: &'a B::Device,
    done: &'a Cell<u64>,
    total: u64,
}

impl<B: SpikingBackend> CalibratedLayer<'_, B> {
    /// Runs the network over its own number of time steps on the images for calibration, part by
    /// part.
    ///
    /// # Errors
    ///
    /// [`ConversionError::Activations`] if the ordinary network has other layers, and
    /// [`ConversionError::Interrupted`].
    pub fn measure(
        &self,
        network: &SpikingNetwork<B>,
        mut each: impl FnMut(Measured<B>),
    ) -> Result<(), ConversionError> {
        let go_on = || self.progress();
        let steps = network.time_steps();
        measure(
            network,
            self.ann,
            self.balancing,
            self.device,
            &go_on,
            &mut |images, mut layers| {
                each(layers.swap_remove(self.number));
                self.done.set(self.done.get() + (images * steps) as u64);
            },
        )
    }

    /// The number of images for calibration.
    pub fn images(&self) -> usize {
        self.balancing.batches.iter().map(Batch::len).sum()
    }

    /// Reports the progress, and whether to go on.
    pub fn progress(&self) -> ControlFlow<()> {
        let progress = Progress {
            task: Task::Calibrating,
            done: self.done.get().min(self.total),
            total: self.total,
        };
        (self.balancing.on_progress)(progress)
    }

    /// The units of `channels` channels, `[1, channels, 1, 1]`.
    pub fn units(&self, channels: usize) -> Tensor<B, 4> {
        self.scales.units(channels, self.device)
    }

    /// The thresholds of `channels` channels, `[1, channels, 1, 1]`.
    pub fn thresholds(&self, channels: usize) -> Tensor<B, 4> {
        by_channel(self.thresholds, channels, self.device)
    }
}

/// Calibrates all layers of a network with the given thresholds.
pub(crate) fn calibrate<B: SpikingBackend>(
    mut network: SpikingNetwork<B>,
    thresholds: &[Vec<f32>],
    ann: Ann<'_, B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<SpikingNetwork<B>, ConversionError> {
    let calibrations = &balancing.config.calibration;
    let images: usize = balancing.batches.iter().map(Batch::len).sum();
    let passes = calibrations.len() * thresholds.len();
    let total = (passes * images * network.time_steps()) as u64;
    let done = Cell::new(0);
    let scales = scales(&network, thresholds);
    let names: Vec<String> = network.neurons().into_iter().map(|(name, _)| name).collect();
    for (number, (thresholds, scales)) in thresholds.iter().zip(&scales).enumerate() {
        let name = &names[number];
        let done = &done;
        let layer = CalibratedLayer {
            number,
            name,
            thresholds,
            scales,
            ann,
            balancing,
            device,
            done,
            total,
        };
        for calibration in calibrations {
            network = calibration.on().calibrate(network, &layer)?;
        }
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_calibration_is_its_kind_in_a_recipe() {
        let defaults = CalibrationConfig::defaults();
        assert_eq!(defaults.len(), CalibrationConfig::KINDS.len());
        for (calibration, kind) in defaults.iter().zip(CalibrationConfig::KINDS) {
            assert_eq!(calibration.name(), kind.name);
            let json = serde_json::to_value(calibration).unwrap();
            assert_eq!(json["kind"], kind.name);
            let text = format!(r#"{{"kind": "{}"}}"#, kind.name);
            assert_eq!(&serde_json::from_str::<CalibrationConfig>(&text).unwrap(), calibration);
            assert_eq!(calibration.check(), Ok(()));
        }
    }
}
