//! One layer of a network, of whichever kind.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Layer, Pass, PlannedLayer};

use crate::convolution::{Convolution, ConvolutionSpec};
use crate::dense::Dense;
use crate::init::{Place, Weights};
use crate::linear::FullyConnected;
use crate::norm::Norm;
use crate::residual::Residual;
use crate::trace::Trace;

/// A layer with its parameters.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a network has some thirty layers; boxing the larger ones would save 50 kB at most"
)]
pub enum NetworkLayer<B: Backend> {
    /// Convolution, batch norm, activation.
    Convolution(Convolution<B>),
    /// Basic residual block.
    Residual(Residual<B>),
    /// Dense block.
    Dense(Dense<B>),
    /// Batch norm and activation.
    Norm(Norm<B>),
    /// Fully connected layer or classifier.
    FullyConnected(FullyConnected<B>),
    /// A layer without parameters.
    Fixed(Fixed),
}

/// A layer without parameters. A struct around the enum, because Burn derives modules from
/// enums only where each variant holds one module.
#[derive(Module, Clone, Debug)]
pub struct Fixed {
    operation: Operation,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    AveragePool { size: usize },
    MaxPool { size: usize },
    GlobalAveragePool,
    Dropout { probability: f64 },
}

impl<B: Backend> NetworkLayer<B> {
    pub(crate) fn new(weights: &mut Weights<'_, B>, planned: &PlannedLayer) -> Self {
        let PlannedLayer { ref layer, input, output, .. } = *planned;
        let fixed = |operation| Self::Fixed(Fixed { operation });
        match *layer {
            Layer::Conv { channels, kernel, stride, bias, batch_norm, activation, tap: _ } => {
                let spec = ConvolutionSpec {
                    inputs: input.channels,
                    outputs: channels,
                    kernel,
                    stride,
                    bias,
                    batch_norm,
                    activation,
                };
                Self::Convolution(Convolution::new(weights, spec))
            }
            Layer::Residual { channels: _, stride, batch_norm, dropout, tap: _ } => {
                Self::Residual(Residual::new(weights, input, output, stride, batch_norm, dropout))
            }
            Layer::Dense { units, growth, tap: _ } => {
                Self::Dense(Dense::new(weights, input.channels, units, growth))
            }
            Layer::Norm { tap: _ } => Self::Norm(Norm::new(weights, input.channels)),
            Layer::AveragePool { size } => fixed(Operation::AveragePool { size }),
            Layer::MaxPool { size } => fixed(Operation::MaxPool { size }),
            Layer::GlobalAveragePool {} => fixed(Operation::GlobalAveragePool),
            Layer::Dropout { probability } => fixed(Operation::Dropout { probability }),
            Layer::Linear { bias, .. } => {
                let sizes = [input.len(), output.len()];
                Self::FullyConnected(FullyConnected::new(weights, sizes, bias, Place::Hidden))
            }
            Layer::Classifier { bias } => {
                let sizes = [input.len(), output.len()];
                Self::FullyConnected(FullyConnected::new(weights, sizes, bias, Place::Classifier))
            }
        }
    }
}

impl<B: DenseBackend> NetworkLayer<B> {
    /// `index` is the layer's place in the plan.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height, width]` in and out, as planned.
    pub(crate) fn forward(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
        trace: &mut Trace<B>,
    ) -> Tensor<B, 4> {
        let (output, is_activation) = match self {
            Self::Convolution(layer) => (layer.forward(input, pass), layer.has_activation()),
            Self::Residual(layer) => (layer.forward(index, input, pass, trace), false),
            Self::Dense(layer) => (layer.forward(index, input, pass, trace), false),
            Self::Norm(layer) => (layer.forward(input, pass.mode), true),
            Self::FullyConnected(layer) => {
                (layer.forward(input, pass.precision), layer.has_activation())
            }
            Self::Fixed(layer) => (layer.forward(index, input, pass), false),
        };
        // Blocks have shown the activations inside them themselves.
        if is_activation {
            trace.see(index, "", &output);
        }
        output
    }
}

/// The mean of each channel, `[batch, channels, 1, 1]`.
fn global_average<B: DenseBackend>(input: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, height, width] = input.dims();
    match height == width {
        true => ops::average_pool(input, width),
        false => input.mean_dim(3).mean_dim(2),
    }
}

impl Fixed {
    fn forward<B: DenseBackend>(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        match self.operation {
            Operation::AveragePool { size } => ops::average_pool(input, size),
            Operation::MaxPool { size } => ops::maximum_pool(input, size),
            Operation::GlobalAveragePool => global_average(input),
            Operation::Dropout { probability } => {
                let [_, channels, height, width] = input.dims();
                match pass.dropout(index as u32, probability, channels * height * width) {
                    Some(mask) => ops::masked(input, mask),
                    None => input,
                }
            }
        }
    }
}
