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

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass, Seed, StateDict, state};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};

use crate::config::ConversionConfig;
use crate::counting::{chunk_steps, chunks, to_host};
use crate::drive::{Drive, Streaming};
use crate::error::ConversionError;
use crate::network::SpikingNetwork;
use crate::report::{self, ConversionReport};
use crate::signal::Signal;
use crate::threshold::ThresholdPolicy;

/// The activations of the ordinary network for a batch `[batch, channels, height, width]`, by the names
/// of [`SpikingNetwork::neurons`] and in their order.
pub type Activations<B> = Vec<(String, Tensor<B, 4>)>;

/// Neurons of a layer that gets no positive input keep this threshold; the report warns.
const SILENT_THRESHOLD: f32 = 1.0;

/// Gives `network` the weights of the ordinary network `ann` and balances its thresholds on
/// `batches`.
///
/// `reference` gives the ordinary network's activations, with which the report compares the firing
/// rates.
///
/// # Errors
///
/// Names the tensor that does not fit, the layer whose input is not finite, or the key of `config`
/// that is out of range.
pub fn convert<B: SpikingBackend>(
    network: SpikingNetwork<B>,
    ann: &StateDict,
    reference: &dyn Fn(&Batch) -> Activations<B>,
    config: &ConversionConfig,
    batches: &[Batch],
    seed: Seed,
    device: &B::Device,
) -> Result<(SpikingNetwork<B>, ConversionReport), ConversionError> {
    config.check()?;
    if batches.iter().all(Batch::is_empty) {
        return Err(ConversionError::NoImages);
    }
    let network = transfer(network, ann)?;
    let (mut network, thresholds) = balance(network, config, batches, seed, device)?;
    let scale = config.scale as f32;
    let scaled: Vec<f32> = thresholds.iter().map(|&threshold| threshold * scale).collect();
    for site in 0..scaled.len() {
        network = network.scale_behind_inner(site, scale);
    }
    let leak = network.config().leak;
    let network = network.with_neurons(leak, &scaled, device);
    let report =
        report::report(&network, &scaled, reference, batches, config.time_steps, seed, device)?;
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
    config: &ConversionConfig,
    batches: &[Batch],
    seed: Seed,
    device: &B::Device,
) -> Result<(SpikingNetwork<B>, Vec<f32>), ConversionError> {
    let names: Vec<String> = network.neurons().into_iter().map(|(name, _)| name).collect();
    let mut thresholds = vec![SILENT_THRESHOLD; names.len()];
    for (site, name) in names.iter().enumerate() {
        // Balancing is done on neurons without leak, whatever the network has afterwards.
        let balanced = network.clone().with_neurons(1.0, &thresholds, device);
        let mut policy = config.policy.start();
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            watch(&balanced, site, batch, config.time_steps, seed, device, policy.as_mut());
        }
        let found = policy.threshold();
        if !found.is_finite() {
            return Err(ConversionError::NotFinite { layer: name.clone(), found });
        }
        tracing::debug!(layer = %name, threshold = found, "balanced");
        // A silent layer must not fire without input: zero input is never above this.
        thresholds[site] = if found > 0.0 { found } else { SILENT_THRESHOLD };
        network = network.scale_behind_inner(site, thresholds[site]);
    }
    Ok((network, thresholds))
}

/// Shows `policy` the currents of one layer of neurons, streaming over all time steps.
fn watch<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    site: usize,
    batch: &Batch,
    time_steps: usize,
    seed: Seed,
    device: &B::Device,
    policy: &mut dyn ThresholdPolicy,
) {
    let pass = Pass::evaluate(seed, &batch.samples);
    let images = batch.images::<B>(device);
    let mut drive = Watching { neurons: Streaming::new(), site, policy, constant: false };
    for (first, steps) in chunks(time_steps, chunk_steps(network.plan(), batch.len())) {
        drive.neurons.next_chunk(steps);
        let input = network.encode(images.clone(), first, steps, &pass);
        network.flow(input, &pass, &mut drive);
        // Currents that are the same at every step need to be seen once.
        if drive.constant {
            break;
        }
    }
}

/// Streams up to one layer of neurons, shows its currents and stops there.
struct Watching<'a, B: Backend> {
    neurons: Streaming<B>,
    site: usize,
    policy: &'a mut dyn ThresholdPolicy,
    constant: bool,
}

impl<B: SpikingBackend> Drive<B> for Watching<'_, B> {
    fn fire(
        &mut self,
        site: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        if site < self.site {
            return self.neurons.fire(site, neurons, currents);
        }
        self.constant = currents.constant;
        self.policy.observe(&to_host(currents.maps));
        None
    }

    fn steps(&self) -> usize {
        Drive::<B>::steps(&self.neurons)
    }
}
