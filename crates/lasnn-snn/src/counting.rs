//! A streaming pass over one batch that counts the spikes of each neuron.
//!
//! The time steps run in chunks, so memory does not grow with their number.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass, Plan, Seed};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_spiking_kernels::SpikeStats;

use crate::fan_out::fan_outs;
use crate::offset::count_spikes_with_offset;
use crate::progress::steps_at_once;
use crate::runner::{NeuronRunner, Streaming, sum_over_time};
use crate::signal::Signal;
use crate::simulator::Simulator;

/// The largest tensor of a chunk, in numbers of 4 bytes (64 MiB).
pub const CHUNK: usize = 1 << 24;

/// One chunk of time steps, as [`count_spikes`] hands it out.
pub struct Chunk<'a, B: Backend> {
    /// The encoded input.
    pub input: &'a Signal<B>,
    /// The number of time steps.
    pub steps: usize,
    /// The currents into the readout, `[steps, batch, classes]`. Their mean over all time steps of
    /// a pass is the logits (class scores).
    pub logits: Vec<f32>,
}

/// Runs a batch from rest over `time_steps` time steps and counts the spikes of every neuron.
///
/// Returns one entry `[batch, channels, height, width]` for each layer of neurons. Calls `each`
/// after every chunk, and ends early if it breaks.
pub fn count_spikes<B: SpikingBackend>(
    simulator: &Simulator<B>,
    batch: &Batch,
    time_steps: usize,
    seed: Seed,
    device: &B::Device,
    mut each: impl FnMut(Chunk<'_, B>) -> ControlFlow<()>,
) -> ControlFlow<(), Vec<Vec<f32>>> {
    let network = simulator.network();
    let pass = Pass::evaluate(seed, &batch.samples);
    if simulator.offset_steps() > 0 {
        let steps = [time_steps, simulator.offset_steps()];
        return count_spikes_with_offset(network, batch, steps, &pass, device, &mut each);
    }
    let images = batch.images::<B>(device);
    let mut runner = Counting::default();
    let mut membranes = None;
    let mut counts: Vec<Vec<f32>> = Vec::new();
    // There are packed weights exactly where the fused pass runs.
    let chunk = match simulator.packed_weights() {
        Some(_) => {
            let at_once = steps_at_once(network.plan(), batch.len());
            fused_chunk_steps(network.plan(), batch.len()).min(at_once)
        }
        None => chunk_steps(network.plan(), batch.len()),
    };
    for (first, steps) in chunks(time_steps, chunk) {
        let input = network.encode(images.clone(), first, steps, &pass);
        let fused = network.lowered().and_then(|lowered| {
            let stats = (steps, SpikeStats::Counts);
            let packed_weights = simulator.packed_weights();
            lowered.advance(network, input.clone(), &pass, stats, packed_weights, &mut membranes)
        });
        if let Some(outcome) = fused {
            counts.resize(outcome.counts.len(), Vec::new());
            for (so_far, counts) in counts.iter_mut().zip(&outcome.counts) {
                so_far.resize(counts.len(), 0.0);
                so_far.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            each(Chunk { input: &input, steps, logits: outcome.by_step })?;
            continue;
        }
        runner.neurons.next_chunk(steps);
        if let Some(reached) = network.flow(input.clone(), &pass, &mut runner) {
            let logits = to_host(network.read_out(reached.unfold(steps)));
            each(Chunk { input: &input, steps, logits })?;
        }
    }
    ControlFlow::Continue(match runner.counts.is_empty() {
        true => counts,
        false => runner.counts.into_iter().map(to_host).collect(),
    })
}

/// Runs neurons like [`Streaming`] and counts the spikes of each neuron for each image.
#[derive(Clone, Debug, Default)]
pub struct Counting<B: Backend> {
    neurons: Streaming<B>,
    /// The counts so far, one tensor `[batch, channels, height, width]` for each layer of neurons.
    pub counts: Vec<Tensor<B, 4>>,
}

impl<B: SpikingBackend> NeuronRunner<B> for Counting<B> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        let spikes = self.neurons.fire(neuron_layer, neurons, currents)?;
        let count = sum_over_time(spikes.clone(), self.steps());
        match self.counts.get_mut(neuron_layer) {
            Some(so_far) => *so_far = so_far.clone() + count,
            None => self.counts.push(count),
        }
        Some(spikes)
    }

    fn steps(&self) -> usize {
        NeuronRunner::<B>::steps(&self.neurons)
    }
}

/// How many time steps of `batch` images run at once, layer by layer: the output of the widest
/// layer must fit into a chunk.
pub fn chunk_steps(plan: &Plan, batch: usize) -> usize {
    let widest = plan.layers.iter().map(|layer| layer.output.len()).max().unwrap_or(1);
    (CHUNK / (batch * widest).max(1)).clamp(1, steps_at_once(plan, batch))
}

/// How many time steps of `batch` images run at once in the fused pass. Only the network's input is
/// a tensor there.
pub fn fused_chunk_steps(plan: &Plan, batch: usize) -> usize {
    (CHUNK / (batch * plan.input.len()).max(1)).max(1)
}

/// The time steps `0..time_steps` in chunks: the first step and the length of each.
pub fn chunks(time_steps: usize, chunk: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..time_steps).step_by(chunk).map(move |first| (first, chunk.min(time_steps - first)))
}

/// The number of neurons of every layer of neurons.
pub fn layer_sizes(plan: &Plan) -> Vec<usize> {
    fan_outs(plan).1.iter().map(|fan_out| fan_out.shape.len()).collect()
}

/// Copies the numbers of a tensor to host memory.
pub fn to_host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
