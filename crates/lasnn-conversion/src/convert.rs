//! Weight transfer, and thresholds by a conversion method.
//!
//! A method finds the thresholds ([`crate::methods`]). In the end every threshold is scaled, and
//! biases are divided by what a spike that enters their layer stands for. The weights of the last
//! layer are multiplied by it, unless the class scores shall be [`ClassScores::Raw`].
//!
//! A layer with threshold v represents the ordinary network's activations divided by v. The two
//! summands of a residual block would therefore have different scales: the path through both
//! convolutions passes one threshold more than the shortcut. To correct this, the threshold of the
//! block's first neurons is multiplied into the weights of its second convolution.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Seed};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::{StateDict, state};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::OnProgress;

use crate::calibration::calibrate_biases;
use crate::config::{Calibration, ClassScores, ConversionConfig};
use crate::error::ConversionError;
use crate::methods::Source;
use crate::report::{self, ConversionReport};

/// The activations of the ordinary network for a batch, each `[batch, channels, height, width]`,
/// with the names of [`SpikingNetwork::neurons`] and in their order.
pub type Activations<B> = Vec<(String, Tensor<B, 4>)>;

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

/// Copies the weights of the ordinary network `ann` to `network` and sets its thresholds by the
/// method of the configuration.
///
/// `reference` computes the ordinary network's activations for a batch. The report compares firing
/// rates with them.
///
/// # Errors
///
/// Names the layer with a batch norm, the tensor that does not fit, the layer whose weighted input
/// sums are not finite or whose threshold would not be positive, or the key of the configuration
/// that is out of range.
/// [`ConversionError::Interrupted`] if the progress function stopped the conversion.
pub fn convert<B: SpikingBackend>(
    network: SpikingNetwork<B>,
    ann: &StateDict,
    reference: &dyn Fn(&Batch) -> Activations<B>,
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
    let mut network = transfer(network, ann)?;
    let source = Source { network: &network, ann, activations: reference, balancing, device };
    let scale = config.scale as f32;
    let thresholds: Vec<f32> = config.method.on::<B>().thresholds(&source)?;
    let thresholds: Vec<f32> = thresholds.iter().map(|&threshold| threshold * scale).collect();
    for (neuron_layer, &threshold) in thresholds.iter().enumerate() {
        network = network.absorb_inner_threshold(neuron_layer, threshold);
    }
    let network = network.scale_biases(&thresholds, 0..thresholds.len());
    let network = match config.class_scores {
        ClassScores::Ann => network.scale_readout_weights(&thresholds),
        ClassScores::Raw => network.scale_biases(&thresholds, thresholds.len()..usize::MAX),
    };
    let network = shift(network, &thresholds, config.shift_steps)?;
    let neurons = network.config().neuron;
    let network = network.with_neurons(&neurons, &thresholds, device);
    let network = match config.calibration {
        Calibration::None => network,
        Calibration::Bias => calibrate_biases(network, &thresholds, reference, balancing, device)?,
    };
    let report = report::report(&network, &thresholds, reference, balancing, device)?;
    Ok((network, report))
}

/// Adds the current `v / (2 steps)` to the neurons with the threshold `v`; none if `steps` is 0.
fn shift<B: Backend>(
    network: SpikingNetwork<B>,
    thresholds: &[f32],
    steps: usize,
) -> Result<SpikingNetwork<B>, ConversionError> {
    if steps == 0 {
        return Ok(network);
    }
    let shifted = thresholds.iter().enumerate().try_fold(network, |network, (layer, threshold)| {
        network.add_currents(layer, &[threshold / (2.0 * steps as f32)])
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
