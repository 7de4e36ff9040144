//! The layers of a spiking network. Weights carry the names they have in the ordinary network.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Tensor, backend::Backend, module::avg_pool2d};
use lasnn_backend::{Convolution, DenseBackend, ops};
use lasnn_core::{Layer, Pass, PlannedLayer, Precision, Shape};
use lasnn_neurons::{NeuronConfig, SpikingNeurons, time_locked_dropout};

use crate::runner::NeuronRunner;
use crate::signal::Signal;

/// Thresholds before balancing.
const UNBALANCED: f32 = 1.0;

/// One layer.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a network has a dozen layers; a box would only hide them"
)]
pub enum SpikingLayer<B: Backend> {
    /// Convolution into neurons.
    Conv(SpikingConv<B>),
    /// Residual block: the shortcut is added to the membrane of the second layer of neurons.
    Residual(SpikingResidual<B>),
    /// Fully connected into neurons.
    Linear(SpikingLinear<B>),
    /// The readout: fully connected to the classes, integrates without leak and without firing.
    Classifier(Readout<B>),
    /// Average pooling; `size` 0 means over the whole map.
    AveragePool(AveragePool),
    /// Dropout, one mask over all time steps.
    Dropout(HeldDropout),
}

/// Convolution into neurons.
#[derive(Module, Debug)]
pub struct SpikingConv<B: Backend> {
    /// The convolution, without bias.
    pub conv: Conv2d<B>,
    /// The neurons, one per output position.
    pub neurons: SpikingNeurons<B>,
}

/// A convolution without neurons of its own.
#[derive(Module, Debug)]
pub struct Shortcut<B: Backend> {
    /// The convolution, without bias.
    pub conv: Conv2d<B>,
}

/// Residual block.
#[derive(Module, Debug)]
pub struct SpikingResidual<B: Backend> {
    /// The first convolution and its neurons.
    pub first: SpikingConv<B>,
    /// Dropout between the two convolutions.
    pub dropout: HeldDropout,
    /// The second convolution and the block's closing neurons.
    pub second: SpikingConv<B>,
    /// 1×1 convolution where the shapes differ; else the block's input is added as it is.
    pub shortcut: Option<Shortcut<B>>,
}

/// Fully connected into neurons.
#[derive(Module, Debug)]
pub struct SpikingLinear<B: Backend> {
    /// The weights, `[in, out]`.
    pub linear: Linear<B>,
    /// The neurons.
    pub neurons: SpikingNeurons<B>,
}

/// The last layer.
#[derive(Module, Debug)]
pub struct Readout<B: Backend> {
    /// The weights, `[in, classes]`.
    pub linear: Linear<B>,
}

/// Average pooling over windows that do not overlap.
#[derive(Module, Clone, Debug)]
pub struct AveragePool {
    /// Height and width of the window; 0 for the whole map.
    pub size: usize,
}

/// Dropout with one mask over all time steps.
#[derive(Module, Clone, Debug)]
pub struct HeldDropout {
    /// Tells the dropout layers of a network apart.
    pub layer: usize,
    /// Share of neurons silenced.
    pub probability: f64,
}

impl<B: Backend> SpikingLayer<B> {
    /// Builds a layer with zero weights and thresholds of 1; `None` if it cannot be made spiking.
    pub(crate) fn new(
        index: usize,
        planned: &PlannedLayer,
        neurons: &NeuronConfig,
        device: &B::Device,
    ) -> Option<Self> {
        let Shape { channels: incoming, .. } = planned.input;
        let outgoing = planned.output.channels;
        let spiking = || SpikingNeurons::new(neurons, UNBALANCED, device);
        let linear = |outgoing| new_linear(planned.input.len(), outgoing, device);
        if planned.layer.not_spiking_because().is_some() {
            return None;
        }
        Some(match planned.layer {
            Layer::Conv { kernel, stride, .. } => Self::Conv(SpikingConv {
                conv: conv(incoming, outgoing, kernel, stride, device),
                neurons: spiking(),
            }),
            Layer::Residual { stride, dropout, .. } => {
                let changes = planned.input != planned.output;
                let shortcut =
                    changes.then(|| Shortcut { conv: conv(incoming, outgoing, 1, stride, device) });
                Self::Residual(SpikingResidual {
                    first: SpikingConv {
                        conv: conv(incoming, outgoing, 3, stride, device),
                        neurons: spiking(),
                    },
                    dropout: HeldDropout { layer: index, probability: dropout },
                    second: SpikingConv {
                        conv: conv(outgoing, outgoing, 3, 1, device),
                        neurons: spiking(),
                    },
                    shortcut,
                })
            }
            Layer::AveragePool { size } => Self::AveragePool(AveragePool { size }),
            Layer::GlobalAveragePool {} => Self::AveragePool(AveragePool { size: 0 }),
            Layer::Dropout { probability } => {
                Self::Dropout(HeldDropout { layer: index, probability })
            }
            Layer::Linear { features, .. } => {
                Self::Linear(SpikingLinear { linear: linear(features), neurons: spiking() })
            }
            Layer::Classifier { .. } => Self::Classifier(Readout { linear: linear(outgoing) }),
            Layer::Dense { .. } | Layer::Norm { .. } | Layer::MaxPool { .. } => return None,
        })
    }

    /// The layers of neurons in it, by the name of their part of the layer.
    pub fn neurons(&self) -> Vec<(Option<&'static str>, &SpikingNeurons<B>)> {
        match self {
            Self::Conv(layer) => vec![(None, &layer.neurons)],
            Self::Linear(layer) => vec![(None, &layer.neurons)],
            Self::Residual(block) => {
                vec![(Some("first"), &block.first.neurons), (Some("second"), &block.second.neurons)]
            }
            Self::Classifier(_) | Self::AveragePool(_) | Self::Dropout(_) => vec![],
        }
    }

    /// The same, to be changed.
    pub(crate) fn neurons_mut(&mut self) -> Vec<&mut SpikingNeurons<B>> {
        match self {
            Self::Conv(layer) => vec![&mut layer.neurons],
            Self::Linear(layer) => vec![&mut layer.neurons],
            Self::Residual(block) => vec![&mut block.first.neurons, &mut block.second.neurons],
            Self::Classifier(_) | Self::AveragePool(_) | Self::Dropout(_) => vec![],
        }
    }
}

fn conv<B: Backend>(
    incoming: usize,
    outgoing: usize,
    kernel: usize,
    stride: usize,
    device: &B::Device,
) -> Conv2d<B> {
    let pad = kernel / 2;
    Conv2dConfig::new([incoming, outgoing], [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .with_initializer(burn::nn::Initializer::Zeros)
        .init(device)
}

fn new_linear<B: Backend>(incoming: usize, outgoing: usize, device: &B::Device) -> Linear<B> {
    LinearConfig::new(incoming, outgoing)
        .with_bias(false)
        .with_initializer(burn::nn::Initializer::Zeros)
        .init(device)
}

/// A convolution of a signal.
pub(crate) fn conv2d<B: DenseBackend>(conv: &Conv2d<B>, maps: Tensor<B, 4>) -> Tensor<B, 4> {
    let padding = conv.kernel_size[0] / 2;
    let precision = Precision::F32;
    let convolution = Convolution { stride: conv.stride[0], padding, precision };
    ops::conv2d(maps, conv.weight.val(), None, convolution, false)
}

/// A signal flattened to vectors and multiplied by a matrix, as maps of 1×1.
pub(crate) fn linear<B: DenseBackend>(linear: &Linear<B>, maps: Tensor<B, 4>) -> Tensor<B, 4> {
    let vectors: Tensor<B, 2> = maps.flatten(1, 3);
    ops::linear(vectors, linear.weight.val(), None, Precision::F32, false).unsqueeze_dims(&[2, 3])
}

impl AveragePool {
    /// Pools a signal.
    pub(crate) fn forward<B: Backend>(&self, signal: Signal<B>) -> Signal<B> {
        signal.map(|maps| {
            let [_, _, height, width] = maps.dims();
            let size = match self.size {
                0 => [height, width],
                size => [size; 2],
            };
            avg_pool2d(maps, size, size, [0, 0], true, false)
        })
    }
}

impl HeldDropout {
    /// Silences neurons for all steps alike.
    pub(crate) fn forward<B: DenseBackend>(&self, signal: Signal<B>, pass: &Pass<'_>) -> Signal<B> {
        let steps = signal.maps.dims()[0] / pass.samples.len().max(1);
        let layer = self.layer as u32;
        signal.map(|maps| time_locked_dropout(maps, layer, self.probability, steps, pass))
    }
}

/// Drives a layer that holds neurons.
pub(crate) struct Walk<'a, D> {
    /// The runner.
    pub runner: &'a mut D,
    /// The neuron_layer of the next layer of neurons.
    pub neuron_layer: usize,
}

impl<D> Walk<'_, D> {
    fn fire<B: DenseBackend>(
        &mut self,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Signal<B>>
    where
        D: NeuronRunner<B>,
    {
        let neuron_layer = self.neuron_layer;
        self.neuron_layer += 1;
        self.runner.fire(neuron_layer, neurons, currents).map(Signal::changing)
    }

    /// Convolution into neurons.
    pub fn conv<B: DenseBackend>(
        &mut self,
        layer: &SpikingConv<B>,
        signal: Signal<B>,
    ) -> Option<Signal<B>>
    where
        D: NeuronRunner<B>,
    {
        self.fire(&layer.neurons, signal.map(|maps| conv2d(&layer.conv, maps)))
    }

    /// Fully connected into neurons.
    pub fn linear<B: DenseBackend>(
        &mut self,
        layer: &SpikingLinear<B>,
        signal: Signal<B>,
    ) -> Option<Signal<B>>
    where
        D: NeuronRunner<B>,
    {
        self.fire(&layer.neurons, signal.map(|maps| linear(&layer.linear, maps)))
    }

    /// Residual block.
    pub fn residual<B: DenseBackend>(
        &mut self,
        block: &SpikingResidual<B>,
        signal: Signal<B>,
        pass: &Pass<'_>,
    ) -> Option<Signal<B>>
    where
        D: NeuronRunner<B>,
    {
        let steps = self.runner.steps();
        let shortcut = match &block.shortcut {
            Some(shortcut) => signal.clone().map(|maps| conv2d(&shortcut.conv, maps)),
            None => signal.clone(),
        };
        let inner = block.dropout.forward(self.conv(&block.first, signal)?, pass);
        let currents = inner.map(|maps| conv2d(&block.second.conv, maps)).add(shortcut, steps);
        self.fire(&block.second.neurons, currents)
    }
}
