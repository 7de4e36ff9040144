//! Running the layers that hold neurons, one after the other.

use lasnn_backend::DenseBackend;
use lasnn_core::{Mode, Pass};
use lasnn_neurons::SpikingNeurons;

use crate::layers::{Shortcut, SpikingConv, SpikingLinear, SpikingResidual, conv2d_norm, linear};
use crate::runner::NeuronRunner;
use crate::signal::Signal;

/// A walk through a network that numbers its layers of neurons. Every method returns the spikes of
/// a layer, or `None` if the runner stopped the pass.
pub(crate) struct Walk<'a, R> {
    pub runner: &'a mut R,
    /// The number of the next layer of neurons, counted from the image.
    neuron_layer: usize,
}

impl<'a, R> Walk<'a, R> {
    /// A walk that begins at the image.
    pub fn new(runner: &'a mut R) -> Self {
        Self { runner, neuron_layer: 0 }
    }

    /// A convolution and its neurons.
    pub fn conv<B: DenseBackend>(
        &mut self,
        layer: &SpikingConv<B>,
        signal: Signal<B>,
        mode: Mode,
    ) -> Option<Signal<B>>
    where
        R: NeuronRunner<B>,
    {
        let SpikingConv { conv, norm, neurons } = layer;
        self.fire(neurons, signal.map(|maps| conv2d_norm(conv, norm.as_ref(), maps, mode)))
    }

    /// A fully connected layer and its neurons.
    pub fn linear<B: DenseBackend>(
        &mut self,
        layer: &SpikingLinear<B>,
        signal: Signal<B>,
    ) -> Option<Signal<B>>
    where
        R: NeuronRunner<B>,
    {
        self.fire(&layer.neurons, signal.map(|maps| linear(&layer.linear, maps)))
    }

    /// A residual block.
    pub fn residual<B: DenseBackend>(
        &mut self,
        block: &SpikingResidual<B>,
        signal: Signal<B>,
        pass: &Pass<'_>,
    ) -> Option<Signal<B>>
    where
        R: NeuronRunner<B>,
    {
        let steps = self.runner.steps();
        let shortcut = match &block.shortcut {
            Some(Shortcut { conv, norm }) => {
                signal.clone().map(|maps| conv2d_norm(conv, norm.as_ref(), maps, pass.mode))
            }
            None => signal.clone(),
        };
        let inner = block.dropout.forward(self.conv(&block.first, signal, pass.mode)?, pass);
        let SpikingConv { conv, norm, neurons } = &block.second;
        let currents = inner.map(|maps| conv2d_norm(conv, norm.as_ref(), maps, pass.mode));
        self.fire(neurons, currents.add(shortcut, steps))
    }

    fn fire<B: DenseBackend>(
        &mut self,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Signal<B>>
    where
        R: NeuronRunner<B>,
    {
        let neuron_layer = self.neuron_layer;
        self.neuron_layer += 1;
        self.runner.fire(neuron_layer, neurons, currents).map(Signal::changing)
    }
}
