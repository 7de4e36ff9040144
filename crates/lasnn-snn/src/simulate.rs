//! Streaming simulation: accuracy by time step, firing rates, operations and energy.

use std::ops::ControlFlow;

use lasnn_core::{BatchSource, ClassCount, Seed};
use lasnn_neurons::{EncodedValues, SpikingBackend};
use serde::Serialize;

use crate::counting::{Chunk, count_spikes, layer_sizes, to_host};
use crate::energy::{ADDITION_PJ, image_energy_pj};
use crate::fan_out::{FanOut, fan_outs};
use crate::offset::steps_with_offset;
use crate::progress::{OnProgress, Progress, Task, go_on};
use crate::simulator::Simulator;

/// What a simulation of a network on a set of images has measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Simulation {
    /// The number of images.
    pub images: usize,
    /// Share of images that are classified correctly after the last time step, 0 to 1.
    pub accuracy: f64,
    /// Share of images that are classified correctly after each time step, `[time_steps]`.
    pub accuracy_by_step: Vec<f64>,
    /// For each class, its images and how many of them are classified correctly after the last time
    /// step.
    pub by_class: Vec<ClassCount>,
    /// The firing rate of each layer of neurons, from the image on.
    pub firing_rate_by_layer: Vec<LayerRate>,
    /// Spikes per neuron and time step over all neurons, 0 to 1.
    pub firing_rate: f64,
    /// Spikes of all neurons per image over all time steps, without input spikes.
    pub spikes_per_image: f64,
    /// Synaptic operations per image: additions of one weight to one membrane potential, including
    /// those that input spikes cause.
    pub synops_per_image: f64,
    /// Arithmetic energy per image in picojoules ([`crate::energy`]): the synaptic operations and,
    /// unless the input is spikes, the multiply-accumulates of the first layer, which is computed
    /// once under direct encoding.
    pub energy_pj_per_image: f64,
}

/// The firing rate of one layer of neurons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRate {
    /// The layer's name.
    pub layer: String,
    /// Spikes per neuron and time step, 0 to 1.
    pub rate: f64,
}

/// Runs a network over `time_steps` time steps on the images of `source`, without gradients. Memory
/// does not grow with the number of time steps.
pub fn simulate<B: SpikingBackend>(
    simulator: &Simulator<B>,
    source: &dyn BatchSource,
    time_steps: usize,
    seed: Seed,
    device: &B::Device,
) -> Simulation {
    let (ControlFlow::Continue(simulation) | ControlFlow::Break(simulation)) =
        simulate_while(simulator, source, time_steps, seed, &go_on, device);
    simulation
}

/// Like [`simulate`], but ends early if `on_progress` breaks. `ControlFlow::Break` then holds the
/// simulation of the batches that were complete.
pub fn simulate_while<B: SpikingBackend>(
    simulator: &Simulator<B>,
    source: &dyn BatchSource,
    time_steps: usize,
    seed: Seed,
    on_progress: OnProgress<'_>,
    device: &B::Device,
) -> ControlFlow<Simulation, Simulation> {
    let network = simulator.network();
    let plan = network.plan();
    let values = network.config().encoding.values();
    let (input_fan_out, fan_outs) = fan_outs(plan);
    let mut images = 0;
    let mut correct = vec![0u64; time_steps];
    let mut by_class = ClassCount::of(plan.classes);
    let mut spikes = vec![0f64; fan_outs.len()];
    let mut synops = 0f64;
    let total = source.len() as u64 * time_steps as u64;
    let mut stopped = false;
    for batch in source.epoch(0, 0) {
        let mut logits = Logits::new(batch.len(), plan.classes);
        let mut right = Vec::with_capacity(time_steps);
        let mut from_input = 0.0;
        let report = |step: usize| {
            let done = images as u64 * time_steps as u64 + batch.len() as u64 * step as u64;
            on_progress(Progress { task: Task::Simulating, done, total })
        };
        let counts = report(0).is_continue().then(|| {
            count_spikes(simulator, &batch, time_steps, seed, device, |chunk: Chunk<'_, B>| {
                if values.are_spikes() {
                    // A Poisson spike of -1 causes operations like one of 1.
                    let spikes = to_host(chunk.input.maps.clone().abs());
                    from_input += operations(&spikes, &input_fan_out);
                }
                for currents in chunk.logits.chunks(logits.len()) {
                    right.push(logits.add(currents, &batch.labels));
                }
                report(right.len())
            })
        });
        let Some(ControlFlow::Continue(counts)) = counts else {
            stopped = true;
            break;
        };
        synops += from_input;
        for (label, right) in batch.labels.iter().zip(logits.are_right(&batch.labels)) {
            by_class[*label as usize].add(right);
        }
        for (sum, right) in correct.iter_mut().zip(right) {
            *sum += right;
        }
        for ((spikes, fan_out), counts) in spikes.iter_mut().zip(&fan_outs).zip(counts) {
            *spikes += counts.iter().map(|&count| f64::from(count)).sum::<f64>();
            synops += operations(&counts, fan_out);
        }
        images += batch.len();
    }
    let image_energy = match values {
        EncodedValues::Constant => image_energy_pj(plan),
        EncodedValues::Numbers => image_energy_pj(plan) * time_steps as f64,
        EncodedValues::Spikes | EncodedValues::SignedSpikes => 0.0,
    };
    let per_image = 1.0 / (images as f64).max(1.0);
    let steps = steps_with_offset(time_steps, simulator.offset_steps()) as f64;
    let sizes = layer_sizes(plan);
    let rate = |spikes: f64, neurons: usize| spikes * per_image / (neurons as f64 * steps);
    let accuracy_by_step: Vec<f64> = correct.iter().map(|&c| c as f64 * per_image).collect();
    let total: f64 = spikes.iter().sum();
    let simulation = Simulation {
        images,
        accuracy: accuracy_by_step.last().copied().unwrap_or_default(),
        accuracy_by_step,
        by_class,
        firing_rate_by_layer: network
            .neurons()
            .into_iter()
            .zip(spikes.iter().zip(&sizes))
            .map(|((layer, _), (&spikes, &size))| LayerRate { layer, rate: rate(spikes, size) })
            .collect(),
        firing_rate: rate(total, sizes.iter().sum::<usize>().max(1)),
        spikes_per_image: total * per_image,
        synops_per_image: synops * per_image,
        energy_pj_per_image: image_energy + synops * per_image * ADDITION_PJ,
    };
    match stopped {
        true => ControlFlow::Break(simulation),
        false => ControlFlow::Continue(simulation),
    }
}

/// The number of synaptic operations that spikes cause; `counts` is
/// `[images, channels, height · width]`.
fn operations(counts: &[f32], fan_out: &FanOut) -> f64 {
    let positions = fan_out.synapses.len();
    let image = |map: &[f32]| -> f64 {
        map.iter().zip(&fan_out.synapses).map(|(&n, &s)| f64::from(n) * s as f64).sum()
    };
    counts.chunks_exact(positions).map(image).sum()
}

/// The class scores of a batch: the currents into the readout, summed over time (Eq. 3). Their
/// order is that of the logits, which are the mean over time.
struct Logits {
    classes: usize,
    /// `[images, classes]`.
    sums: Vec<f32>,
}

impl Logits {
    fn new(images: usize, classes: usize) -> Self {
        Self { classes, sums: vec![0.0; images * classes] }
    }

    fn len(&self) -> usize {
        self.sums.len()
    }

    /// Adds the currents of one time step; returns how many images are classified correctly now.
    fn add(&mut self, currents: &[f32], labels: &[u32]) -> u64 {
        for (sum, current) in self.sums.iter_mut().zip(currents) {
            *sum += current;
        }
        self.are_right(labels).map(u64::from).sum()
    }

    /// Whether the largest logit of each image is at its label. Of equal logits the first counts.
    fn are_right(&self, labels: &[u32]) -> impl Iterator<Item = bool> {
        let right = |(logits, &label): (&[f32], &u32)| {
            let best = (0..logits.len()).fold(0, |b, i| if logits[i] > logits[b] { i } else { b });
            best == label as usize
        };
        self.sums.chunks_exact(self.classes).zip(labels).map(right)
    }
}
