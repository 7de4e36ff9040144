//! Batch norm of the currents of a spiking network, over all images and time steps.
//!
//! A batch norm belongs to the convolution before it. While a network is trained, it normalises the
//! currents `[steps · batch, channels, height, width]` of each channel. Afterwards it is folded
//! into the convolution, so that the network is measured without one.

use std::ops::RangeInclusive;

use burn::module::Param;
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::Kind;
use lasnn_neurons::NeuronModel;
use serde::{Deserialize, Serialize};

use crate::error::SnnError;
use crate::layers::{SpikingConv, SpikingLayer};
use crate::network::SpikingNetwork;

/// How the batch norms of a spiking network begin. Both kinds normalise in the same way: the
/// threshold is not a factor of the forward pass, but of the initial γ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BatchNormConfig {
    /// γ begins at 1, as in an ordinary network.
    Plain {},
    /// γ begins at `alpha · θ`, where θ is the threshold of the neurons that get the currents, and
    /// at `alpha · θ / √2` where the currents of two branches are added.
    ThresholdDependent {
        /// The standard deviation of the normalised currents, in units of the threshold.
        #[serde(default = "one")]
        alpha: f64,
    },
}

/// The range of `alpha`. With other values, γ or its gradient would overflow or vanish in single
/// precision.
const ALPHAS: RangeInclusive<f64> = 1e-6..=1e6;

fn one() -> f64 {
    1.0
}

impl BatchNormConfig {
    /// The names of both kinds, in the order of the variants.
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "plain",
            about: "batch norm over images and time steps; γ begins at 1",
            source: "Ioffe and Szegedy 2015",
        },
        Kind {
            name: "threshold-dependent",
            about: "the same, but γ begins at alpha times the threshold of the neurons",
            source: "Zheng et al. 2021 (tdBN)",
        },
    ];

    /// Checks that `alpha` is in range.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the expected range.
    pub fn check(&self) -> Result<(), SnnError> {
        match *self {
            Self::ThresholdDependent { alpha } if !ALPHAS.contains(&alpha) => {
                let (key, expected) = ("alpha", "a number above 0, from 1e-6 to 1e6");
                Err(SnnError::Value { key, found: alpha.to_string(), expected })
            }
            Self::Plain {} | Self::ThresholdDependent { .. } => Ok(()),
        }
    }

    /// The initial γ of each channel. `thresholds` has one number, or one for each channel.
    fn gamma(&self, thresholds: &[f32], channels: usize, branches: usize) -> Vec<f32> {
        let Self::ThresholdDependent { alpha } = *self else { return vec![1.0; channels] };
        let factor = alpha / (branches as f64).sqrt();
        let of_channels = thresholds.iter().cycle().take(channels);
        of_channels.map(|&threshold| (f64::from(threshold) * factor) as f32).collect()
    }
}

impl<B: Backend> SpikingNetwork<B> {
    /// Sets γ of every batch norm to its initial value, which depends on the thresholds.
    ///
    /// A residual block adds the currents of two branches, also if its shortcut is the identity.
    pub fn with_initial_batch_norm(mut self, config: &BatchNormConfig) -> Self {
        for layer in &mut self.layers {
            match layer {
                SpikingLayer::Conv(SpikingConv { norm, neurons, .. }) => {
                    set_gamma(norm, config, &neurons.thresholds(), 1);
                }
                SpikingLayer::Residual(block) => {
                    let SpikingConv { norm, neurons, .. } = &mut block.first;
                    set_gamma(norm, config, &neurons.thresholds(), 1);
                    let SpikingConv { norm, neurons, .. } = &mut block.second;
                    let thresholds = neurons.thresholds();
                    set_gamma(norm, config, &thresholds, 2);
                    if let Some(shortcut) = &mut block.shortcut {
                        set_gamma(&mut shortcut.norm, config, &thresholds, 2);
                    }
                }
                _ => {}
            }
        }
        self
    }
}

fn set_gamma<B: Backend>(
    norm: &mut Option<BatchNorm<B>>,
    config: &BatchNormConfig,
    thresholds: &[f32],
    branches: usize,
) {
    let Some(norm) = norm else { return };
    let [channels] = norm.gamma.dims();
    let gamma = TensorData::new(config.gamma(thresholds, channels, branches), [channels]);
    let device = norm.gamma.device();
    norm.gamma = Param::from_tensor(Tensor::from_data(gamma, &device));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_its_kind() {
        let index = |config: &BatchNormConfig| match config {
            BatchNormConfig::Plain {} => 0,
            BatchNormConfig::ThresholdDependent { .. } => 1,
        };
        for (expected, kind) in BatchNormConfig::KINDS.iter().enumerate() {
            let table = serde_json::json!({"kind": kind.name});
            let config: BatchNormConfig = serde_json::from_value(table).unwrap();
            assert_eq!(index(&config), expected, "{}", kind.name);
            config.check().unwrap();
        }
        assert_eq!(BatchNormConfig::KINDS.len(), 2, "as many as there are variants");
    }

    #[test]
    fn gamma_is_proportional_to_the_threshold_of_its_channel() {
        let config = BatchNormConfig::ThresholdDependent { alpha: 0.5 };
        assert_eq!(config.gamma(&[2.0], 3, 1), [1.0; 3]);
        assert_eq!(config.gamma(&[2.0, 4.0], 2, 1), [1.0, 2.0]);
        let root = 0.5f32.sqrt();
        assert_eq!(config.gamma(&[2.0], 2, 2), [root; 2]);
        assert_eq!(BatchNormConfig::Plain {}.gamma(&[2.0], 2, 2), [1.0; 2]);
    }

    #[test]
    fn a_scale_out_of_range_is_refused() {
        for alpha in [0.0, -1.0, 1e-7, 1e7, f64::NAN, f64::INFINITY] {
            let error = BatchNormConfig::ThresholdDependent { alpha }.check().unwrap_err();
            assert!(error.to_string().starts_with("alpha is"), "{error}");
        }
    }
}
