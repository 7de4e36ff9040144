//! The weights that drive each layer of neurons, and what flows through them on average.

use burn::module::Param;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::DenseBackend;
use lasnn_core::Pass;
use lasnn_neurons::SpikingBackend;

use crate::counting::{chunk_steps, chunks};
use crate::layers::{SpikingLayer, conv2d, linear};
use crate::network::SpikingNetwork;
use crate::runner::sum_over_time;
use crate::signal::Signal;

/// A convolution or a matrix, with its bias.
#[derive(Clone, Debug)]
pub enum Weights<B: Backend> {
    /// A convolution.
    Conv(Conv2d<B>),
    /// A matrix.
    Linear(Linear<B>),
}

impl<B: Backend> Weights<B> {
    /// The bias.
    pub fn bias(&self) -> Option<&Param<Tensor<B, 1>>> {
        match self {
            Self::Conv(conv) => conv.bias.as_ref(),
            Self::Linear(linear) => linear.bias.as_ref(),
        }
    }

    /// The place of the bias.
    pub fn bias_mut(&mut self) -> &mut Option<Param<Tensor<B, 1>>> {
        match self {
            Self::Conv(conv) => &mut conv.bias,
            Self::Linear(linear) => &mut linear.bias,
        }
    }
}

impl<B: DenseBackend> Weights<B> {
    /// The currents `[rows, channels, height, width]` that the maps
    /// `[rows, channels, height, width]` cause.
    pub fn forward(&self, maps: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Self::Conv(conv) => conv2d(conv, maps),
            Self::Linear(matrix) => linear(matrix, maps),
        }
    }
}

/// What drives one layer of neurons. The shortcut of a residual block that has no weights is not
/// here, although it drives the block's second layer of neurons.
#[derive(Clone, Debug)]
pub struct Synapses<B: Backend> {
    /// The weights between the layer and the one before it.
    pub main: Weights<B>,
    /// The convolution of a residual block's shortcut.
    pub shortcut: Option<Conv2d<B>>,
}

/// The input of one layer of neurons, averaged over the time steps.
#[derive(Clone, Debug)]
pub struct MeanInput<B: Backend> {
    /// The input of the main weights, `[batch, channels, height, width]`.
    pub main: Tensor<B, 4>,
    /// The input of the shortcut that ends at the layer, `[batch, channels, height, width]`.
    pub shortcut: Option<Tensor<B, 4>>,
}

impl<B: Backend> SpikingNetwork<B> {
    /// What drives layer `neuron_layer` of [`Self::neurons`].
    ///
    /// # Panics
    ///
    /// Panics if there is no such layer.
    pub fn synapses(&self, neuron_layer: usize) -> Synapses<B> {
        let mut before = 0;
        for layer in &self.layers {
            let main = match (layer, neuron_layer - before) {
                (SpikingLayer::Conv(layer), 0) => Weights::Conv(layer.conv.clone()),
                (SpikingLayer::Linear(layer), 0) => Weights::Linear(layer.linear.clone()),
                (SpikingLayer::Residual(block), 0) => Weights::Conv(block.first.conv.clone()),
                (SpikingLayer::Residual(block), 1) => {
                    let shortcut = block.shortcut.as_ref().map(|found| found.conv.clone());
                    return Synapses { main: Weights::Conv(block.second.conv.clone()), shortcut };
                }
                _ => {
                    before += layer.neurons().len();
                    continue;
                }
            };
            return Synapses { main, shortcut: None };
        }
        unreachable!("every layer of neurons belongs to a layer")
    }

    /// This network with other weights and biases for layer `neuron_layer` of [`Self::neurons`].
    ///
    /// # Panics
    ///
    /// Panics if there is no such layer, or if it has weights of another kind.
    pub fn with_synapses(mut self, neuron_layer: usize, synapses: Synapses<B>) -> Self {
        let Synapses { mut main, shortcut } = synapses;
        let mut before = 0;
        for layer in &mut self.layers {
            let inner = neuron_layer - before;
            before += layer.neurons().len();
            match (layer, inner, main) {
                (SpikingLayer::Conv(layer), 0, Weights::Conv(conv)) => layer.conv = conv,
                (SpikingLayer::Linear(layer), 0, Weights::Linear(linear)) => layer.linear = linear,
                (SpikingLayer::Residual(block), 0, Weights::Conv(conv)) => block.first.conv = conv,
                (SpikingLayer::Residual(block), 1, Weights::Conv(conv)) => {
                    block.second.conv = conv;
                    if let (Some(found), Some(conv)) = (&mut block.shortcut, shortcut) {
                        found.conv = conv;
                    }
                }
                (_, _, given) => {
                    main = given;
                    continue;
                }
            }
            return self;
        }
        unreachable!("every layer of neurons has the weights of its layer")
    }

    /// The mean inputs of all layers of neurons.
    ///
    /// # Shapes
    ///
    /// - `images`: the mean of the encoded images, `[batch, channels, height, width]`
    ///   ([`Self::mean_images`])
    /// - `rates`: the firing rates, `[batch, channels, height, width]` for each layer of neurons
    pub fn mean_inputs(&self, images: Tensor<B, 4>, rates: &[Tensor<B, 4>]) -> Vec<MeanInput<B>> {
        let mut all: Vec<MeanInput<B>> = Vec::with_capacity(rates.len());
        let mut signal = images;
        for layer in &self.layers {
            match layer {
                SpikingLayer::Conv(_) | SpikingLayer::Linear(_) => {
                    all.push(MeanInput { main: signal, shortcut: None });
                }
                SpikingLayer::Residual(_) => {
                    all.push(MeanInput { main: signal.clone(), shortcut: None });
                    let inner = rates[all.len() - 1].clone();
                    all.push(MeanInput { main: inner, shortcut: Some(signal) });
                }
                SpikingLayer::AveragePool(pool) => {
                    signal = pool.forward(Signal { maps: signal, constant: true }).maps;
                    continue;
                }
                SpikingLayer::Dropout(_) => continue,
                SpikingLayer::Classifier(_) => break,
            }
            signal = rates[all.len() - 1].clone();
        }
        all
    }
}

impl<B: SpikingBackend> SpikingNetwork<B> {
    /// The mean of the encoded images over `steps` time steps,
    /// `[batch, channels, height, width]`.
    pub fn mean_images(&self, images: Tensor<B, 4>, steps: usize, pass: &Pass<'_>) -> Tensor<B, 4> {
        let at_once = chunk_steps(self.plan(), images.dims()[0]);
        let mut sum = images.zeros_like();
        for (first, steps) in chunks(steps, at_once) {
            let signal = self.encode(images.clone(), first, steps, pass);
            if signal.constant {
                return signal.maps;
            }
            sum = sum + sum_over_time(signal.maps, steps);
        }
        sum / steps as f64
    }

    /// The mean currents `[batch, channels, height, width]` into layer `neuron_layer` of
    /// [`Self::neurons`], from its mean input. They are exact, since weights act linearly.
    pub fn mean_currents(&self, neuron_layer: usize, input: &MeanInput<B>) -> Tensor<B, 4> {
        let Synapses { main, shortcut } = self.synapses(neuron_layer);
        let currents = main.forward(input.main.clone());
        match (shortcut, &input.shortcut) {
            (Some(conv), Some(maps)) => currents + conv2d(&conv, maps.clone()),
            (None, Some(maps)) => currents + maps.clone(),
            (_, None) => currents,
        }
    }
}
