//! Weight transfer, and thresholds by a conversion method.
//!
//! A method finds the thresholds ([`crate::methods`]). Every threshold is multiplied by the scale
//! of the configuration, and weights and biases get the scales that follow from the thresholds
//! ([`crate::scales`]).

use burn::tensor::backend::Backend;
use lasnn_core::{Batch, Seed};
use lasnn_neurons::{SpikingBackend, ThresholdPer};
use lasnn_nn::{StateDict, state};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::OnProgress;

use crate::ann::Ann;
use crate::calibrations::calibrate;
use crate::config::ConversionConfig;
use crate::error::ConversionError;
use crate::methods::Source;
use crate::report::{self, ConversionReport};
use crate::scales::{add_currents, scale_layer, scale_readout, scales};

/// The arguments of a conversion.
#[derive(Clone, Copy)]
pub struct Balancing<'a> {
    /// The method, the number of time steps and the scale.
    pub config: &'a ConversionConfig,
    /// The images for calibration.
    pub batches: &'a [Batch],
    /// The seed of the Poisson encoding.
    pub seed: Seed,
    /// Gets the progress, and may stop the conversion.
    pub on_progress: OnProgress<'a>,
}

/// Copies the weights of the ordinary network to `network` and sets its thresholds by the method of
/// the configuration.
///
/// # Errors
///
/// Names the layer with a batch norm, the tensor that does not fit, the layer whose weighted input
/// sums are not finite or whose threshold would not be positive, or the key of the configuration
/// that is out of range.
/// [`ConversionError::Interrupted`] if the progress function stopped the conversion.
pub fn convert<B: SpikingBackend>(
    network: SpikingNetwork<B>,
    ann: Ann<'_, B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<(SpikingNetwork<B>, ConversionReport), ConversionError> {
    let Balancing { config, batches, .. } = balancing;
    config.check()?;
    if batches.iter().all(Batch::is_empty) {
        return Err(ConversionError::NoImages);
    }
    for (layer, planned) in network.plan().layers.iter().enumerate() {
        if planned.layer.has_batch_norm() {
            return Err(ConversionError::BatchNorm { layer, kind: planned.layer.kind() });
        }
    }
    if config.method.is_by_channel()
        && network.config().neuron.sharing().threshold == ThresholdPer::Layer
    {
        return Err(ConversionError::PerLayer);
    }
    let mut network = transfer(network, ann.tensors)?;
    let source = Source { network: &network, ann, balancing, device };
    let scale = config.scale as f32;
    let mut thresholds = config.method.on::<B>().thresholds(&source)?;
    thresholds.iter_mut().flatten().for_each(|threshold| *threshold *= scale);
    let scales = scales(&network, &thresholds);
    for (neuron_layer, scales) in scales[..thresholds.len()].iter().enumerate() {
        network = scale_layer(network, neuron_layer, scales);
    }
    let network = scale_readout(network, &scales[thresholds.len()], config.class_scores);
    let network = shift(network, &thresholds, config.shift_steps)?;
    let neurons = network.config().neuron;
    let network = network.with_neurons(&neurons, &thresholds, device);
    let network = calibrate(network, &thresholds, ann, balancing, device)?;
    let report = report::report(&network, &thresholds, ann, balancing, device)?;
    Ok((network, report))
}

/// Adds the current `v / (2 steps)` to the neurons with the threshold `v`; none if `steps` is 0.
fn shift<B: Backend>(
    network: SpikingNetwork<B>,
    thresholds: &[Vec<f32>],
    steps: usize,
) -> Result<SpikingNetwork<B>, ConversionError> {
    if steps == 0 {
        return Ok(network);
    }
    let shifted =
        thresholds.iter().enumerate().try_fold(network, |network, (layer, thresholds)| {
            let current = |threshold| threshold / (2.0 * steps as f32);
            add_currents(network, layer, &thresholds.iter().map(current).collect::<Vec<f32>>())
        });
    shifted.map_err(|layer| ConversionError::NoBias { layer, key: "conversion.shift_steps" })
}

/// Loads the ordinary network's weights, which have the same names, and keeps the parameters of
/// the neurons. They take the place of the ordinary network's activations.
fn transfer<B: Backend>(
    network: SpikingNetwork<B>,
    ann: &StateDict,
) -> Result<SpikingNetwork<B>, ConversionError> {
    let neurons =
        state::save::<B, _>(&network).into_iter().filter(|(n, _)| n.contains(".neurons."));
    let ann = ann.clone().into_iter().filter(|(name, _)| !state::is_of_activation(name));
    let all = ann.chain(neurons).collect();
    Ok(state::load(network, all)?)
}
