//! Offset spikes (Hao et al., "Bridging the gap between ANNs and SNNs by calibrating offset
//! spikes", 2023): a correction of each image, in a network that is measured.
//!
//! Spikes that come early or late let a neuron fire more or less often than its mean current says.
//! So each layer runs twice, from the image on and after the layer before it is corrected. The
//! first run takes `ρ` time steps (`offset_steps`). It changes the charge `u`, in thresholds, with
//! which the neuron begins the second run, according to the charge `r` that is left:
//!
//! ```text
//! u ← u - max(1, m - 0.999)    if r < 0 and the neuron fired: it fires once less
//! u ← u + max(1, 1.001 - M)    if r >= 1: it fires once more
//! ```
//!
//! `m` is the least membrane potential at a step with a spike, and `M` the largest one at a step
//! without, in thresholds and before the reset. This is what the authors' code does.
//!
//! A layer needs the first `ρ` steps of its input before it can begin, so a network over `T` steps
//! runs over `max(T, ρ) + ρ`. Spike counts and operations include the spikes of the first `ρ` steps
//! twice, since the next layer receives them for both of its runs.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use lasnn_core::{Batch, Pass};
use lasnn_neurons::models::lif::charge;
use lasnn_neurons::{NeuronConfig, NeuronModel, Reset, SpikingBackend, SpikingNeurons, StepOrder};
use lasnn_nn::BatchTensors;

use crate::config::SpikingConfig;
use crate::counting::{CHUNK, Chunk, to_host};
use crate::network::SpikingNetwork;
use crate::runner::{NeuronRunner, sum_over_time};
use crate::signal::Signal;

/// More than any membrane potential, in thresholds.
const MUCH: f64 = 1000.0;

/// Why a network cannot be corrected; `None` if it can.
pub fn offset_refused_because(config: &SpikingConfig) -> Option<&'static str> {
    let options = config.neuron.options();
    let has_leak = !matches!(config.neuron, NeuronConfig::Lif(lif) if lif.leak.value == 1.0);
    if has_leak {
        return Some("its neurons have a leak");
    }
    if options.reset != Reset::Subtract {
        return Some("its neurons are reset to zero");
    }
    if options.step_order != StepOrder::IntegrateThenFire {
        return Some("its neurons fire before they integrate");
    }
    match config.encoding.values().is_constant() {
        true => None,
        false => Some("its input is not the same at every time step"),
    }
}

/// The number of time steps that a network runs to be measured over `time_steps`.
pub fn steps_with_offset(time_steps: usize, offset_steps: usize) -> usize {
    match offset_steps {
        0 => time_steps,
        _ => time_steps.max(offset_steps) + offset_steps,
    }
}

/// Like [`count_spikes`](crate::counting::count_spikes), with `offset_steps` steps in which each
/// layer is corrected. All time steps are one chunk.
pub(crate) fn count_spikes_with_offset<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    batch: &Batch,
    [time_steps, offset_steps]: [usize; 2],
    pass: &Pass<'_>,
    device: &B::Device,
    each: &mut dyn FnMut(Chunk<'_, B>) -> ControlFlow<()>,
) -> ControlFlow<(), Vec<Vec<f32>>> {
    let steps = time_steps.max(offset_steps);
    let widest = network.plan().layers.iter().map(|layer| layer.output.len()).max().unwrap_or(1);
    let at_once = (CHUNK / (steps * widest)).clamp(1, batch.len().max(1));
    let classes = network.plan().classes;
    let mut logits = vec![0.0; time_steps * batch.len() * classes];
    let mut counts: Vec<Vec<f32>> = Vec::new();
    for first in (0..batch.len()).step_by(at_once) {
        let part = batch.slice(first..batch.len().min(first + at_once));
        let pass = Pass { samples: &part.samples, ..*pass };
        let input = network.encode(part.images(device), 0, steps, &pass);
        let mut runner = OffsetSpikes { steps, offset_steps, counts: &mut counts };
        let Some(reached) = network.flow(input, &pass, &mut runner) else { continue };
        let found = to_host(network.read_out(reached.unfold(steps)));
        let of_part = part.len() * classes;
        for step in 0..time_steps {
            let begin = (step * batch.len() + first) * classes;
            logits[begin..][..of_part].copy_from_slice(&found[step * of_part..][..of_part]);
        }
    }
    let input = Signal { maps: batch.images(device), constant: true };
    each(Chunk { input: &input, steps: time_steps, logits })?;
    ControlFlow::Continue(counts)
}

/// Corrects each layer, runs it, and appends its spike counts.
struct OffsetSpikes<'a> {
    steps: usize,
    offset_steps: usize,
    /// The counts of each layer, image after image.
    counts: &'a mut Vec<Vec<f32>>,
}

impl<B: SpikingBackend> NeuronRunner<B> for OffsetSpikes<'_> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        let currents = currents.unfold(self.steps);
        let first_steps = |maps: &Tensor<B, 4>| {
            let rows = maps.dims()[0] / self.steps * self.offset_steps;
            maps.clone().narrow(0, 0, rows)
        };
        let membrane = corrected(neurons, first_steps(&currents), self.offset_steps);
        let (spikes, _) = neurons.advance(currents, Some(membrane), self.steps);
        let counts = sum_over_time(spikes.clone(), self.steps)
            + sum_over_time(first_steps(&spikes), self.offset_steps);
        if self.counts.len() <= neuron_layer {
            self.counts.push(Vec::new());
        }
        self.counts[neuron_layer].extend(to_host(counts));
        Some(spikes)
    }

    fn steps(&self) -> usize {
        self.steps
    }
}

/// The corrected initial membrane potentials `[batch, channels, height, width]`, from currents
/// `[steps · batch, channels, height, width]`.
fn corrected<B: SpikingBackend>(
    neurons: &SpikingNeurons<B>,
    currents: Tensor<B, 4>,
    steps: usize,
) -> Tensor<B, 4> {
    let [rows, channels, height, width] = currents.dims();
    let (batch, device) = (rows / steps, currents.device());
    let thresholds = neurons.thresholds();
    let threshold = |channel: usize| thresholds[if thresholds.len() == 1 { 0 } else { channel }];
    let stored = neurons.initial_membranes().unwrap_or_else(|| vec![0.0]);
    let start = |index: usize| {
        let potential = stored[if stored.len() == 1 { 0 } else { index }];
        charge(potential / threshold(index / (height * width)), 1.0)
    };
    let starts: Vec<f32> = (0..channels * height * width).map(start).collect();
    let starts = TensorData::new(starts, [1, channels, height, width]);
    let starts =
        Tensor::<B, 4>::from_data(starts, &device).expand([batch, channels, height, width]);
    let by_channel: Vec<f32> = (0..channels).map(threshold).collect();
    let by_channel = TensorData::new(by_channel, [1, channels, 1, 1]);
    let by_channel = Tensor::<B, 4>::from_data(by_channel, &device);

    // The membrane potentials before each reset, in thresholds.
    let levels = neurons.membranes(currents, steps) / by_channel.clone();
    let levels = levels.reshape([steps, batch, channels, height, width]);
    let fired = levels.clone().greater_elem(1.0);
    let of_step = |maps: Tensor<B, 5>| maps.reshape([batch, channels, height, width]);
    let least = of_step(levels.clone().mask_fill(fired.clone().bool_not(), MUCH).min_dim(0));
    let most = of_step(levels.clone().mask_fill(fired.clone(), -MUCH).max_dim(0));
    let spikes = fired.float();
    let count = of_step(spikes.clone().sum_dim(0));
    let last = |maps: Tensor<B, 5>| of_step(maps.narrow(0, steps - 1, 1));
    let left = last(levels) - last(spikes);

    let less = left.clone().lower_elem(0.0).bool_and(count.greater_elem(0.0)).float();
    let more = left.greater_equal_elem(1.0).float();
    let charges =
        starts - less * (least - 0.999).clamp_min(1.0) + more * (-most + 1.001).clamp_min(1.0);
    // The potentials that lead to these charges (`lif::potential_of`).
    let is_above = charges.clone().greater_elem(1.0).float();
    (charges + is_above) * by_channel
}
