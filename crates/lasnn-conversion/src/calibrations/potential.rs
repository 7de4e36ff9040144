//! Calibration of initial membrane potentials (Li et al., "A free lunch from ANN: towards
//! efficient, accurate spiking neural networks calibration", 2021).
//!
//! The potential of each neuron before the first of `T` time steps gets what the neuron lacks in
//! the mean over the images, in the unit `u` of the currents:
//!
//! ```text
//! u^0 ← u^0 + T (mean(a) / u - v mean(r))
//! ```
//!
//! `a` are the activations of the ordinary network, `r` the firing rates, and `v` is the threshold.
//! A neuron that starts above its threshold is reset once before the first step and sends no spike
//! for it (`lasnn_neurons::models::lif`), which [`charge`] and [`potential_of`] take into account.

use burn::tensor::Tensor;
use lasnn_neurons::models::lif::{charge, potential_of};
use lasnn_neurons::{NeuronModel, SpikingBackend};
use lasnn_snn::counting::to_host;
use lasnn_snn::network::SpikingNetwork;
use serde::{Deserialize, Serialize};

use super::{CalibratedLayer, Calibration, CalibrationKind, Measured, Need};
use crate::error::ConversionError;
use crate::scales::of_channel;

/// Calibration of initial membrane potentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PotentialCalibration {}

impl CalibrationKind for PotentialCalibration {
    const NAME: &'static str = "potential";
    const ABOUT: &'static str = "each neuron starts with the charge that it lacks in the mean";
    const SOURCE: &'static str = "Li et al. 2021 (potential correction)";
    const NEED: Option<Need> = Some(Need::Potentials);
}

impl<B: SpikingBackend> Calibration<B> for PotentialCalibration {
    fn calibrate(
        &self,
        network: SpikingNetwork<B>,
        layer: &CalibratedLayer<'_, B>,
    ) -> Result<SpikingNetwork<B>, ConversionError> {
        let (mut sums, mut channels) = (Vec::<f64>::new(), 0);
        layer.measure(&network, |Measured { activations, rates, .. }| {
            channels = activations.dims()[1];
            let missing: Tensor<B, 4> =
                activations / layer.units(channels) - rates * layer.thresholds(channels);
            let missing = to_host(missing.sum_dim(0));
            sums.resize(missing.len(), 0.0);
            sums.iter_mut().zip(missing).for_each(|(sum, part)| *sum += f64::from(part));
        })?;
        let each = network.time_steps() as f64 / layer.images().max(1) as f64;
        let (_, neurons) = network.neurons().swap_remove(layer.number);
        let mut potentials = match neurons.initial_membranes() {
            Some(potentials) if potentials.len() == sums.len() => potentials,
            _ => return Err(ConversionError::NoPotentials { layer: layer.name.to_owned() }),
        };
        let positions = potentials.len() / channels.max(1);
        for (index, (stored, sum)) in potentials.iter_mut().zip(sums).enumerate() {
            let threshold = of_channel(layer.thresholds, index / positions);
            *stored = potential_of(charge(*stored, threshold) + (sum * each) as f32, threshold);
        }
        Ok(network.map_neurons(layer.number, |neurons| neurons.with_initial_membranes(&potentials)))
    }
}
