//! A streaming runner that counts spikes, and how long its chunks are.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass, Plan, Seed};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_spiking_kernels::SpikeStats;

use crate::energy::fan_outs;
use crate::progress::steps_at_once;
use crate::runner::{NeuronRunner, Streaming, sum_over_time};
use crate::signal::Signal;
use crate::simulator::Simulator;

/// How many numbers the largest layer of a chunk may have (64 MiB): the memory of a simulation is
/// bounded by this, not by the number of time steps.
const CHUNK: usize = 1 << 24;

/// How many time steps are run at once for batches of `batch` images, layer by layer.
pub fn chunk_steps(plan: &Plan, batch: usize) -> usize {
    let widest = plan.layers.iter().map(|layer| layer.output.len()).max().unwrap_or(1);
    (CHUNK / (batch * widest).max(1)).clamp(1, steps_at_once(plan, batch))
}

/// The same where the kernels run the network as a whole: numbers are its input alone.
pub fn chunk_steps_as_a_whole(plan: &Plan, batch: usize) -> usize {
    (CHUNK / (batch * plan.input.len()).max(1)).max(1)
}

/// The time steps `0..time_steps` in chunks: first step and length of each.
pub fn chunks(time_steps: usize, chunk: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..time_steps).step_by(chunk).map(move |first| (first, chunk.min(time_steps - first)))
}

/// Streams, and adds up the spikes of each neuron for each image.
#[derive(Clone, Debug, Default)]
pub struct Counting<B: Backend> {
    neurons: Streaming<B>,
    /// Spikes so far by layer of neurons, `[batch, channels, height, width]`.
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

/// What [`run`] shows of each chunk.
pub struct Chunk<'a, B: Backend> {
    /// The encoded input.
    pub input: &'a Signal<B>,
    /// How many time steps it has.
    pub steps: usize,
    /// What it adds to the class scores, `[steps, batch, classes]`.
    pub logits: Vec<f32>,
}

/// Runs a batch from rest over `time_steps`, chunk by chunk; returns the spikes of every neuron by
/// layer of neurons, `[batch, channels, height, width]`. Ends early where `each` breaks.
pub fn run<B: SpikingBackend>(
    simulator: &Simulator<B>,
    batch: &Batch,
    time_steps: usize,
    seed: Seed,
    device: &B::Device,
    mut each: impl FnMut(Chunk<'_, B>) -> ControlFlow<()>,
) -> ControlFlow<(), Vec<Vec<f32>>> {
    let network = simulator.network();
    let pass = Pass::evaluate(seed, &batch.samples);
    let images = batch.images::<B>(device);
    let mut runner = Counting::default();
    let mut membranes = None;
    let mut counts: Vec<Vec<f32>> = Vec::new();
    // What is packed was packed for the kernels.
    let chunk = match simulator.packed_weights() {
        Some(_) => {
            let at_once = steps_at_once(network.plan(), batch.len());
            chunk_steps_as_a_whole(network.plan(), batch.len()).min(at_once)
        }
        None => chunk_steps(network.plan(), batch.len()),
    };
    for (first, steps) in chunks(time_steps, chunk) {
        let input = network.encode(images.clone(), first, steps, &pass);
        let whole = network.lowered().and_then(|lowered| {
            let (packed_weights, show) = (simulator.packed_weights(), SpikeStats::Counts);
            lowered.advance(
                network,
                input.clone(),
                &pass,
                (steps, show),
                packed_weights,
                &mut membranes,
            )
        });
        if let Some(outcome) = whole {
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

/// The number of neurons of every layer of neurons.
pub fn sizes(plan: &Plan) -> Vec<usize> {
    fan_outs(plan).1.iter().map(|fan_out| fan_out.shape.len()).collect()
}

/// A tensor's numbers on the host.
pub fn to_host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
