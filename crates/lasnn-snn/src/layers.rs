//! The layers of a spiking network, as Burn modules.
//!
//! Weights carry the names that they have in the ordinary network, so that a checkpoint of one can
//! be loaded into the other.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Tensor, backend::Backend, module::avg_pool2d};
use lasnn_backend::{Convolution, DenseBackend, batch_norm::batch_norm, ops};
use lasnn_core::{Layer, Mode, Pass, PlannedLayer, Precision, Shape};
use lasnn_neurons::{NeuronConfig, SpikingNeurons, time_locked_dropout};

use crate::signal::Signal;

/// The threshold of every layer until it is balanced, trained or loaded.
const INITIAL_THRESHOLD: f32 = 1.0;

/// One layer.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a network has a dozen layers; a box would only hide them"
)]
pub enum SpikingLayer<B: Backend> {
    /// A convolution and its neurons.
    Conv(SpikingConv<B>),
    /// A residual block.
    Residual(SpikingResidual<B>),
    /// A fully connected layer and its neurons.
    Linear(SpikingLinear<B>),
    /// The readout: fully connected to the classes; its neurons integrate without leak and never
    /// fire.
    Classifier(Readout<B>),
    /// Average pooling.
    AveragePool(AveragePool),
    /// Dropout.
    Dropout(TimeLockedDropout),
}

/// A convolution and the neurons that its output drives.
#[derive(Module, Debug)]
pub struct SpikingConv<B: Backend> {
    /// The convolution. Its bias is a current that the neurons receive at every time step.
    pub conv: Conv2d<B>,
    /// The batch norm of the currents, over all images and time steps.
    pub norm: Option<BatchNorm<B>>,
    /// The neurons, one for each channel and position of the output.
    pub neurons: SpikingNeurons<B>,
}

/// The convolution of a residual block's shortcut; it has no neurons of its own.
#[derive(Module, Debug)]
pub struct Shortcut<B: Backend> {
    /// The convolution.
    pub conv: Conv2d<B>,
    /// The batch norm of its currents, over all images and time steps.
    pub norm: Option<BatchNorm<B>>,
}

/// A residual block of two convolutions. The shortcut is added to the currents of the second layer
/// of neurons.
#[derive(Module, Debug)]
pub struct SpikingResidual<B: Backend> {
    /// The first convolution and its neurons.
    pub first: SpikingConv<B>,
    /// Dropout after the first layer of neurons.
    pub dropout: TimeLockedDropout,
    /// The second convolution and its neurons.
    pub second: SpikingConv<B>,
    /// A 1×1 convolution where the shapes of input and output differ; otherwise the block's input
    /// is added as it is.
    pub shortcut: Option<Shortcut<B>>,
}

/// A fully connected layer and the neurons that its output drives.
#[derive(Module, Debug)]
pub struct SpikingLinear<B: Backend> {
    /// The weights, `[in, out]`, and the bias.
    pub linear: Linear<B>,
    /// The neurons.
    pub neurons: SpikingNeurons<B>,
}

/// The last layer. The logits (class scores) are the mean current into its neurons
/// ([`lasnn_neurons::mean_current`]).
#[derive(Module, Debug)]
pub struct Readout<B: Backend> {
    /// The weights, `[in, classes]`, and the bias.
    pub linear: Linear<B>,
}

/// Average pooling over windows that do not overlap.
#[derive(Module, Clone, Debug)]
pub struct AveragePool {
    /// Height and width of the window; 0 for the whole feature map.
    pub size: usize,
}

/// Time-locked dropout: one mask for all time steps of an image.
#[derive(Module, Clone, Debug)]
pub struct TimeLockedDropout {
    /// Index of the layer in the network; keys the random draws.
    pub layer: usize,
    /// The probability with which a neuron is silenced.
    pub probability: f64,
}

impl<B: Backend> SpikingLayer<B> {
    /// Builds layer number `index` with zero weights and biases and thresholds of 1; `None` if it
    /// cannot be made spiking.
    pub(crate) fn new(
        index: usize,
        planned: &PlannedLayer,
        neurons: &NeuronConfig,
        device: &B::Device,
    ) -> Option<Self> {
        let Shape { channels: incoming, .. } = planned.input;
        let outgoing = planned.output.channels;
        let Shape { channels, height, width } = planned.output;
        let shape = [channels, height, width];
        let spiking = || neurons.init::<B>(INITIAL_THRESHOLD, shape, device);
        // Momentum 0.1 and ε 1e-5, as in ordinary networks.
        let norm =
            |has_norm: bool| has_norm.then(|| BatchNormConfig::new(outgoing).init::<B>(device));
        let linear = |outgoing, bias| new_linear(planned.input.len(), outgoing, bias, device);
        if planned.layer.not_spiking_because().is_some() {
            return None;
        }
        Some(match planned.layer {
            Layer::Conv { kernel, stride, bias, batch_norm, .. } => Self::Conv(SpikingConv {
                conv: conv([incoming, outgoing], kernel, stride, bias, device),
                norm: norm(batch_norm),
                neurons: spiking(),
            }),
            Layer::Residual { stride, bias, batch_norm, dropout, .. } => {
                let changes = planned.input != planned.output;
                let conv = |channels, kernel, stride| conv(channels, kernel, stride, bias, device);
                let norm = || norm(batch_norm);
                let shortcut = changes.then(|| Shortcut {
                    conv: conv([incoming, outgoing], 1, stride),
                    norm: norm(),
                });
                Self::Residual(SpikingResidual {
                    first: SpikingConv {
                        conv: conv([incoming, outgoing], 3, stride),
                        norm: norm(),
                        neurons: spiking(),
                    },
                    dropout: TimeLockedDropout { layer: index, probability: dropout },
                    second: SpikingConv {
                        conv: conv([outgoing, outgoing], 3, 1),
                        norm: norm(),
                        neurons: spiking(),
                    },
                    shortcut,
                })
            }
            Layer::AveragePool { size } => Self::AveragePool(AveragePool { size }),
            Layer::GlobalAveragePool {} => Self::AveragePool(AveragePool { size: 0 }),
            Layer::Dropout { probability } => {
                Self::Dropout(TimeLockedDropout { layer: index, probability })
            }
            Layer::Linear { features, bias } => {
                Self::Linear(SpikingLinear { linear: linear(features, bias), neurons: spiking() })
            }
            Layer::Classifier { bias } => {
                Self::Classifier(Readout { linear: linear(outgoing, bias) })
            }
            Layer::Dense { .. } | Layer::Norm { .. } | Layer::MaxPool { .. } => return None,
        })
    }

    /// The layer's neurons with the name of the part that holds them, such as `first` in a residual
    /// block.
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

    /// The layer's neurons, in the order of [`Self::neurons`].
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
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    bias: bool,
    device: &B::Device,
) -> Conv2d<B> {
    let pad = kernel / 2;
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(bias)
        .with_initializer(burn::nn::Initializer::Zeros)
        .init(device)
}

fn new_linear<B: Backend>(
    incoming: usize,
    outgoing: usize,
    bias: bool,
    device: &B::Device,
) -> Linear<B> {
    LinearConfig::new(incoming, outgoing)
        .with_bias(bias)
        .with_initializer(burn::nn::Initializer::Zeros)
        .init(device)
}

/// Convolves maps `[rows, channels, height, width]` with "same" padding, and normalises the result
/// if there is a batch norm. In training, the batch norm computes the mean and the variance of a
/// channel over all rows: each row is one image at one time step.
pub(crate) fn conv2d_norm<B: DenseBackend>(
    conv: &Conv2d<B>,
    norm: Option<&BatchNorm<B>>,
    maps: Tensor<B, 4>,
    mode: Mode,
) -> Tensor<B, 4> {
    let currents = conv2d(conv, maps);
    match norm {
        Some(norm) => batch_norm(norm, currents, mode, false),
        None => currents,
    }
}

/// Convolves maps `[rows, channels, height, width]` with "same" padding.
pub(crate) fn conv2d<B: DenseBackend>(conv: &Conv2d<B>, maps: Tensor<B, 4>) -> Tensor<B, 4> {
    let padding = conv.kernel_size[0] / 2;
    let precision = Precision::F32;
    let convolution = Convolution { stride: conv.stride[0], padding, precision };
    let bias = conv.bias.as_ref().map(Param::val);
    ops::conv2d(maps, conv.weight.val(), bias, convolution, false)
}

/// Flattens maps `[rows, channels, height, width]` to vectors and multiplies them by a matrix;
/// returns maps `[rows, out, 1, 1]`.
pub(crate) fn linear<B: DenseBackend>(linear: &Linear<B>, maps: Tensor<B, 4>) -> Tensor<B, 4> {
    let vectors: Tensor<B, 2> = maps.flatten(1, 3);
    let bias = linear.bias.as_ref().map(Param::val);
    ops::linear(vectors, linear.weight.val(), bias, Precision::F32, false).unsqueeze_dims(&[2, 3])
}

impl AveragePool {
    /// Averages a signal over windows that do not overlap.
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

impl TimeLockedDropout {
    /// Silences neurons while training, each for all time steps.
    pub(crate) fn forward<B: DenseBackend>(&self, signal: Signal<B>, pass: &Pass<'_>) -> Signal<B> {
        let steps = signal.maps.dims()[0] / pass.samples.len().max(1);
        let layer = self.layer as u32;
        signal.map(|maps| time_locked_dropout(maps, layer, self.probability, steps, pass))
    }
}
