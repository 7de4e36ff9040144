//! Weight transfer and threshold balancing.
//!
//! Layers are balanced one after the other, from the image on. For each layer the network runs on
//! encoded images, without leak and with all earlier layers already balanced. The layer's threshold
//! follows from its weighted input sums (not from its membrane potentials) over time, batch and
//! neurons. In the end every threshold is scaled.
//!
//! Layers inside residual blocks are balanced like all others. A layer with threshold v represents
//! the ordinary network's activations divided by v. The two summands of a residual block would
//! therefore have different scales: the path through both convolutions passes one threshold more
//! than the shortcut. To correct this, the threshold of the block's first neurons is multiplied
//! into the weights of its second convolution. (The public code of hybrid training leaves these
//! neurons at threshold 1.)

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass, Seed};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::{BatchTensors, StateDict, state};
use lasnn_snn::counting::{chunk_steps, chunks, to_host};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::{OnProgress, Progress, Task};
use lasnn_snn::runner::{NeuronRunner, Streaming};
use lasnn_snn::signal::Signal;

use crate::config::ConversionConfig;
use crate::error::ConversionError;
use crate::report::{self, ConversionReport};
use crate::threshold::ThresholdPolicy;

/// The activations of the ordinary network for a batch, each `[batch, channels, height, width]`,
/// with the names of [`SpikingNetwork::neurons`] and in their order.
pub type Activations<B> = Vec<(String, Tensor<B, 4>)>;

/// The threshold of a layer that gets no positive input; the report warns of such a layer.
const SILENT_THRESHOLD: f32 = 1.0;

/// The arguments of threshold balancing.
#[derive(Clone, Copy)]
pub struct Balancing<'a> {
    /// The policy, the number of time steps and the scale.
    pub config: &'a ConversionConfig,
    /// The images for calibration.
    pub batches: &'a [Batch],
    /// The seed of the Poisson encoding.
    pub seed: Seed,
    /// Gets the progress, and may stop the conversion.
    pub on_progress: OnProgress<'a>,
}

/// Copies the weights of the ordinary network `ann` to `network` and balances its thresholds.
///
/// `reference` computes the ordinary network's activations for a batch. The report compares firing
/// rates with them.
///
/// # Errors
///
/// Names the tensor that does not fit, the layer whose weighted input sums are not finite or whose
/// threshold would not be positive, or the key of the configuration that is out of range.
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
    let network = transfer(network, ann)?;
    let (mut network, thresholds) = balance(network, balancing, device)?;
    let scale = config.scale as f32;
    let scaled: Vec<f32> = thresholds.iter().map(|&threshold| threshold * scale).collect();
    for neuron_layer in 0..scaled.len() {
        network = network.absorb_inner_threshold(neuron_layer, scale);
    }
    // The balanced network has biases in units of the thresholds before scaling.
    let all = 0..scaled.len() + 1;
    let network = transfer_biases(network, ann)?.scale_biases(&scaled, all);
    let neurons = network.config().neuron;
    let network = network.with_neurons(&neurons, &scaled, device);
    let report = report::report(&network, &scaled, reference, balancing, device)?;
    Ok((network, report))
}

/// Replaces all biases by those of the ordinary network.
fn transfer_biases<B: Backend>(
    network: SpikingNetwork<B>,
    ann: &StateDict,
) -> Result<SpikingNetwork<B>, ConversionError> {
    let is_bias = |name: &str| name.ends_with(".bias");
    let own = state::save::<B, _>(&network).into_iter().filter(|(name, _)| !is_bias(name));
    let biases = ann.clone().into_iter().filter(|(name, _)| is_bias(name));
    Ok(state::load(network, own.chain(biases).collect())?)
}

/// Loads the ordinary network's weights, which have the same names, and keeps the parameters of
/// the neurons.
fn transfer<B: Backend>(
    network: SpikingNetwork<B>,
    ann: &StateDict,
) -> Result<SpikingNetwork<B>, ConversionError> {
    let neurons =
        state::save::<B, _>(&network).into_iter().filter(|(n, _)| n.contains(".neurons."));
    let all = ann.clone().into_iter().chain(neurons).collect();
    Ok(state::load(network, all)?)
}

/// Balances all layers. Returns the network, with the thresholds inside residual blocks multiplied
/// into the weights downstream of them, and the threshold of every layer of neurons before scaling.
fn balance<B: SpikingBackend>(
    mut network: SpikingNetwork<B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<(SpikingNetwork<B>, Vec<f32>), ConversionError> {
    let Balancing { config, batches, .. } = balancing;
    let names: Vec<String> = network.neurons().into_iter().map(|(name, _)| name).collect();
    let images: usize = batches.iter().map(Batch::len).sum();
    let of_layer = images as u64 * config.time_steps as u64;
    let total = of_layer * names.len() as u64;
    let mut thresholds = vec![SILENT_THRESHOLD; names.len()];
    for (neuron_layer, name) in names.iter().enumerate() {
        // While it is balanced, the network has no leak and starts at rest, whatever it does
        // afterwards.
        let neurons = network.config().neuron.without_leak();
        // The biases of earlier layers are in their units already.
        network = network.scale_biases(&thresholds, neuron_layer..neuron_layer + 1);
        let balanced = network.clone().with_neurons(&neurons, &thresholds, device);
        let mut policy = config.policy.start();
        let mut done = of_layer * neuron_layer as u64;
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            let on_progress = |steps: usize| {
                let done = done + steps as u64 * batch.len() as u64;
                let progress = Progress { task: Task::Balancing, done, total };
                (balancing.on_progress)(progress)
            };
            let policy = policy.as_mut();
            let calibrated =
                calibrate(&balanced, neuron_layer, batch, balancing, &on_progress, policy, device);
            if calibrated.is_break() {
                return Err(ConversionError::Interrupted);
            }
            done += batch.len() as u64 * config.time_steps as u64;
        }
        let found = policy.threshold();
        if !found.is_finite() {
            return Err(ConversionError::NotFinite { layer: name.clone(), found });
        }
        let positive = policy.positive_share();
        if found <= 0.0 && positive > 0.0 {
            return Err(ConversionError::NotPositive { layer: name.clone(), positive });
        }
        tracing::debug!(layer = %name, threshold = found, "balanced");
        // Any positive threshold keeps a layer without positive input silent.
        thresholds[neuron_layer] = if found > 0.0 { found } else { SILENT_THRESHOLD };
        network = network.absorb_inner_threshold(neuron_layer, thresholds[neuron_layer]);
    }
    Ok((network, thresholds))
}

/// Gives `policy` the currents of one layer of neurons over all time steps. Calls `on_progress`
/// with the number of time steps done, and ends early if it breaks.
fn calibrate<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    neuron_layer: usize,
    batch: &Batch,
    balancing: Balancing<'_>,
    on_progress: &dyn Fn(usize) -> ControlFlow<()>,
    policy: &mut dyn ThresholdPolicy,
    device: &B::Device,
) -> ControlFlow<()> {
    let Balancing { config, seed, .. } = balancing;
    let pass = Pass::evaluate(seed, &batch.samples);
    let images = batch.images::<B>(device);
    let neurons = Streaming::new();
    let mut runner = Calibrating {
        neurons,
        neuron_layer,
        policy,
        constant: false,
        first: 0,
        on_progress,
        stopped: false,
    };
    for (first, steps) in chunks(config.time_steps, chunk_steps(network.plan(), batch.len())) {
        runner.neurons.next_chunk(steps);
        runner.first = first;
        on_progress(first)?;
        let input = network.encode(images.clone(), first, steps, &pass);
        network.flow(input, &pass, &mut runner);
        if runner.stopped {
            return ControlFlow::Break(());
        }
        // The policy needs currents that are the same at every step only once.
        if runner.constant {
            break;
        }
    }
    on_progress(config.time_steps)
}

/// Runs the network up to one layer of neurons, gives the layer's currents to the policy and stops
/// the pass there.
struct Calibrating<'a, B: Backend> {
    neurons: Streaming<B>,
    neuron_layer: usize,
    policy: &'a mut dyn ThresholdPolicy,
    /// Whether the layer's currents are the same at every time step.
    constant: bool,
    /// The first step of the chunk.
    first: usize,
    on_progress: &'a dyn Fn(usize) -> ControlFlow<()>,
    /// Whether `on_progress` broke.
    stopped: bool,
}

impl<B: SpikingBackend> NeuronRunner<B> for Calibrating<'_, B> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        // Called here, too, since one layer over one step of a large batch may take most of a
        // second.
        if (self.on_progress)(self.first).is_break() {
            self.stopped = true;
            return None;
        }
        if neuron_layer < self.neuron_layer {
            return self.neurons.fire(neuron_layer, neurons, currents);
        }
        self.constant = currents.constant;
        self.policy.observe(&to_host(currents.maps));
        None
    }

    fn steps(&self) -> usize {
        NeuronRunner::<B>::steps(&self.neurons)
    }
}
