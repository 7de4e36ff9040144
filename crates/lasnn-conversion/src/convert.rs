//! Weight transfer and threshold balancing.
//!
//! Layer by layer from the image on, with the layers before it already balanced and without leak,
//! the network runs on encoded images, and the layer's threshold follows from its weighted input
//! sums (not its membranes) over time, batch and neurons. At the end every threshold is scaled.
//!
//! Layers inside residual blocks are balanced like all others. A layer with threshold v sends the
//! ordinary network's activations divided by v, so the two summands of a residual block would not
//! have the same scale: the second convolution's path went through one threshold more than the
//! shortcut. The threshold of the block's first neurons is therefore multiplied into the weights of
//! its second convolution. (The public code of hybrid training leaves these neurons at threshold 1.)

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass, Seed};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_nn::{StateDict, state};

use crate::config::ConversionConfig;
use crate::error::ConversionError;
use crate::report::{self, ConversionReport};
use crate::threshold::ThresholdPolicy;
use lasnn_snn::counting::{chunk_steps, chunks, to_host};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::{OnProgress, Progress, Task};
use lasnn_snn::runner::{NeuronRunner, Streaming};
use lasnn_snn::signal::Signal;

/// The activations of the ordinary network for a batch `[batch, channels, height, width]`, by the names
/// of [`SpikingNetwork::neurons`] and in their order.
pub type Activations<B> = Vec<(String, Tensor<B, 4>)>;

/// Neurons of a layer that gets no positive input keep this threshold; the report warns.
const SILENT_THRESHOLD: f32 = 1.0;

/// On what and how thresholds are balanced.
#[derive(Clone, Copy)]
pub struct Balancing<'a> {
    /// The policy and its numbers.
    pub config: &'a ConversionConfig,
    /// The images.
    pub batches: &'a [Batch],
    /// The seed of Poisson spikes.
    pub seed: Seed,
    /// Is told how far it is, and may end it.
    pub on_progress: OnProgress<'a>,
}

/// Gives `network` the weights of the ordinary network `ann` and balances its thresholds.
///
/// `reference` gives the ordinary network's activations, with which the report compares the firing
/// rates.
///
/// # Errors
///
/// Names the tensor that does not fit, the layer whose input is not finite or whose threshold would
/// not be positive, or the key of the configuration that is out of range; or says that it was
/// ended.
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
    let leak = network.config().leak;
    let network = network.with_neurons(leak, &scaled, device);
    let report = report::report(&network, &scaled, reference, balancing, device)?;
    Ok((network, report))
}

/// Loads the ordinary network's weights, which have the same names, and keeps the neurons.
fn transfer<B: Backend>(
    network: SpikingNetwork<B>,
    ann: &StateDict,
) -> Result<SpikingNetwork<B>, ConversionError> {
    let neurons =
        state::save::<B, _>(&network).into_iter().filter(|(n, _)| n.contains(".neurons."));
    let all = ann.clone().into_iter().chain(neurons).collect();
    Ok(state::load(network, all)?)
}

/// The threshold of every layer of neurons, in order, before scaling, and the network with the
/// thresholds inside residual blocks multiplied into the weights behind them.
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
        // Balancing is done on neurons without leak, whatever the network has afterwards.
        let balanced = network.clone().with_neurons(1.0, &thresholds, device);
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
        // A silent layer must not fire without input: zero input is never above this.
        thresholds[neuron_layer] = if found > 0.0 { found } else { SILENT_THRESHOLD };
        network = network.absorb_inner_threshold(neuron_layer, thresholds[neuron_layer]);
    }
    Ok((network, thresholds))
}

/// Shows `policy` the currents of one layer of neurons, streaming over all time steps. Ends early
/// where `on_progress`, which is told how many steps are done, breaks.
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
        // Currents that are the same at every step need to be seen once.
        if runner.constant {
            break;
        }
    }
    on_progress(config.time_steps)
}

/// Streams up to one layer of neurons, shows its currents and stops there.
struct Calibrating<'a, B: Backend> {
    neurons: Streaming<B>,
    neuron_layer: usize,
    policy: &'a mut dyn ThresholdPolicy,
    constant: bool,
    /// The first step of the chunk.
    first: usize,
    on_progress: &'a dyn Fn(usize) -> ControlFlow<()>,
    /// Whether it broke.
    stopped: bool,
}

impl<B: SpikingBackend> NeuronRunner<B> for Calibrating<'_, B> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        // One layer over one step of a large batch may take most of a second.
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
