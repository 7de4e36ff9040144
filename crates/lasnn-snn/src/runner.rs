//! How the neurons of a spiking network run.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Tap;
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::Taps;

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

/// Runs all time steps at once, from rest, with gradients; keeps the firing rates at the taps.
#[derive(Clone, Debug)]
pub struct FromRest<B: Backend> {
    steps: usize,
    /// Firing rates `[batch, channels, height, width]`: (1/T) Σ_t o^t.
    pub taps: Taps<B>,
}

impl<B: Backend> FromRest<B> {
    /// A runner over `steps` time steps.
    pub fn new(steps: usize) -> Self {
        Self { steps, taps: Taps::new() }
    }
}

impl<B: SpikingBackend> NeuronRunner<B> for FromRest<B> {
    fn fire(
        &mut self,
        _: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        Some(neurons.forward(currents.unfold(self.steps), self.steps))
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn tap(&mut self, tap: Tap, spikes: &Tensor<B, 4>) {
        let rates = sum_over_time(spikes.clone(), self.steps) / self.steps as f64;
        self.taps.insert(tap, rates);
    }
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
