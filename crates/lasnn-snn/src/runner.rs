//! How the neurons of a spiking network run.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Probe, Probes, Tap};
use lasnn_neurons::{NeuronModel, SpikingBackend, SpikingNeurons};
use lasnn_nn::{Observations, Taps, activation_map, attention_map};

use crate::signal::Signal;

/// Turns the currents of each layer of neurons into spikes, and may record both.
///
/// The network says which layer is connected to which; a runner says what neurons do with their
/// currents. Training, streaming simulation and threshold balancing are three runners of one
/// network.
pub trait NeuronRunner<B: Backend> {
    /// Runs layer number `neuron_layer` of neurons, counted from the image.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[steps · batch, channels, height, width]`, or a constant signal
    /// - result: spikes `[steps · batch, channels, height, width]`, or `None` to stop the pass
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>>;

    /// The number of time steps that run at once.
    fn steps(&self) -> usize;

    /// Gets the spikes `[steps · batch, channels, height, width]` at a tap.
    fn tap(&mut self, _tap: Tap, _spikes: &Tensor<B, 4>) {}
}

/// Runs all time steps at once, from rest, with gradients, and records the values of probes.
#[derive(Clone, Debug)]
pub struct FromRest<'a, B: Backend> {
    steps: usize,
    probes: &'a Probes,
    /// The currents and the neurons of the last layer, if a probe may need them.
    last: Option<(Tensor<B, 4>, SpikingNeurons<B>)>,
    features: Taps<B>,
    attention: Taps<B>,
    activation_maps: Taps<B>,
    spike_counts: Vec<Tensor<B, 4>>,
    membranes: BTreeMap<Tap, Tensor<B, 5>>,
}

impl<'a, B: Backend> FromRest<'a, B> {
    /// A runner over `steps` time steps.
    pub fn new(steps: usize, probes: &'a Probes) -> Self {
        Self {
            steps,
            probes,
            last: None,
            features: Taps::new(),
            attention: Taps::new(),
            activation_maps: Taps::new(),
            spike_counts: Vec::new(),
            membranes: BTreeMap::new(),
        }
    }

    /// The recorded values, with the logits `[batch, classes]` that the pass has led to.
    pub fn observations(self, logits: Tensor<B, 2>) -> Observations<B> {
        let Self { features, attention, activation_maps, spike_counts, membranes, .. } = self;
        Observations {
            features,
            attention,
            activation_maps,
            spike_counts,
            membranes,
            ..Observations::new(logits)
        }
    }
}

impl<B: SpikingBackend> NeuronRunner<B> for FromRest<'_, B> {
    fn fire(
        &mut self,
        _: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        let currents = currents.unfold(self.steps);
        if self.probes.iter().any(|probe| matches!(probe, Probe::Membranes(_))) {
            self.last = Some((currents.clone(), neurons.clone()));
        }
        let spikes = neurons.forward(currents, self.steps);
        if self.probes.contains(Probe::SpikeCounts) {
            self.spike_counts.push(sum_over_time(spikes.clone(), self.steps));
        }
        Some(spikes)
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn tap(&mut self, tap: Tap, spikes: &Tensor<B, 4>) {
        let Self { steps, probes, .. } = *self;
        let attends = probes.contains(Probe::Attention(tap));
        if attends || probes.contains(Probe::Features(tap)) {
            let rates = sum_over_time(spikes.clone(), steps) / steps as f64;
            if attends {
                self.attention.insert(tap, attention_map(rates.clone()));
            }
            if probes.contains(Probe::Features(tap)) {
                self.features.insert(tap, rates);
            }
        }
        if probes.contains(Probe::ActivationMap(tap)) {
            let map = activation_map(spikes.clone(), steps, probes.trace);
            self.activation_maps.insert(tap, map);
        }
        if probes.contains(Probe::Membranes(tap))
            && let Some((currents, neurons)) = self.last.take()
        {
            self.membranes.insert(tap, membranes(currents, &neurons, steps));
        }
    }
}

/// The membrane potentials `[steps, batch, channels, height, width]` that currents
/// `[steps · batch, channels, height, width]` cause. Differentiable.
fn membranes<B: Backend>(
    currents: Tensor<B, 4>,
    neurons: &SpikingNeurons<B>,
    steps: usize,
) -> Tensor<B, 5> {
    let [rows, channels, height, width] = currents.dims();
    let batch = rows / steps;
    neurons.membranes(currents, steps).reshape([steps, batch, channels, height, width])
}

/// Runs a chunk of time steps without gradients, starting from the membrane potentials that the
/// previous chunk left.
#[derive(Clone, Debug)]
pub struct Streaming<B: Backend> {
    steps: usize,
    membranes: Vec<Option<Tensor<B, 4>>>,
}

impl<B: Backend> Streaming<B> {
    /// Neurons at rest.
    pub fn new() -> Self {
        Self { steps: 0, membranes: Vec::new() }
    }

    /// Sets the number of time steps of the next chunk.
    pub fn next_chunk(&mut self, steps: usize) {
        self.steps = steps;
    }
}

impl<B: Backend> Default for Streaming<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: SpikingBackend> NeuronRunner<B> for Streaming<B> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        if self.membranes.len() <= neuron_layer {
            self.membranes.resize(neuron_layer + 1, None);
        }
        let membrane = self.membranes[neuron_layer].take();
        let (spikes, membrane) = neurons.advance(currents.unfold(self.steps), membrane, self.steps);
        self.membranes[neuron_layer] = Some(membrane);
        Some(spikes)
    }

    fn steps(&self) -> usize {
        self.steps
    }
}

/// Sums maps over time: `[steps · batch, channels, height, width]` to
/// `[batch, channels, height, width]`.
pub fn sum_over_time<B: Backend>(maps: Tensor<B, 4>, steps: usize) -> Tensor<B, 4> {
    let [rows, channels, height, width] = maps.dims();
    let folded: Tensor<B, 2> =
        maps.reshape([steps, rows / steps * channels * height * width]).sum_dim(0);
    folded.reshape([rows / steps, channels, height, width])
}
