//! One layer of a network, of any kind.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Layer, Pass, PlannedLayer};

use crate::convolution::{Convolution, ConvolutionSpec};
use crate::dense::Dense;
use crate::init::{Initializer, LinearRole};
use crate::linear::LinearLayer;
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
    /// A convolution with optional batch norm and activation.
    Convolution(Convolution<B>),
    /// A basic residual block.
    Residual(Residual<B>),
    /// A dense block.
    Dense(Dense<B>),
    /// A batch norm and an activation.
    Norm(Norm<B>),
    /// A hidden linear layer or the classifier.
    Linear(LinearLayer<B>),
    /// A layer without parameters.
    Fixed(Fixed),
}

/// A layer without parameters. It is a struct around an enum, because Burn derives `Module` only
/// for enums in which each variant holds one module.
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
    pub(crate) fn new(initializer: &mut Initializer<'_, B>, planned: &PlannedLayer) -> Self {
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
                Self::Convolution(Convolution::new(initializer, spec))
            }
            Layer::Residual { channels: _, stride, bias, batch_norm, dropout, tap: _ } => {
                let parts = (bias, batch_norm);
                Self::Residual(Residual::new(initializer, input, output, stride, parts, dropout))
            }
            Layer::Dense { units, growth, tap: _ } => {
                Self::Dense(Dense::new(initializer, input.channels, units, growth))
            }
            Layer::Norm { tap: _ } => Self::Norm(Norm::new(initializer, input.channels)),
            Layer::AveragePool { size } => fixed(Operation::AveragePool { size }),
            Layer::MaxPool { size } => fixed(Operation::MaxPool { size }),
            Layer::GlobalAveragePool {} => fixed(Operation::GlobalAveragePool),
            Layer::Dropout { probability } => fixed(Operation::Dropout { probability }),
            Layer::Linear { bias, .. } => {
                let sizes = [input.len(), output.len()];
                Self::Linear(LinearLayer::new(initializer, sizes, bias, LinearRole::Hidden))
            }
            Layer::Classifier { bias } => {
                let sizes = [input.len(), output.len()];
                Self::Linear(LinearLayer::new(initializer, sizes, bias, LinearRole::Classifier))
            }
        }
    }
}

impl<B: Backend> NetworkLayer<B> {
    /// See [`lasnn_nn::Constrained`].
    pub(crate) fn constrained(self) -> Self {
        match self {
            Self::Convolution(layer) => Self::Convolution(layer.constrained()),
            Self::Residual(layer) => Self::Residual(layer.constrained()),
            Self::Dense(layer) => Self::Dense(layer.constrained()),
            Self::Norm(layer) => Self::Norm(layer.constrained()),
            Self::Linear(layer) => Self::Linear(layer.constrained()),
            Self::Fixed(layer) => Self::Fixed(layer),
        }
    }
}

impl<B: DenseBackend> NetworkLayer<B> {
    /// Runs the layer. `index` is its position in the plan.
    ///
    /// # Shapes
    ///
    /// - `input`: `[batch, channels, height, width]` with the input shape of the plan
    /// - result: `[batch, channels, height, width]` with the output shape of the plan
    pub(crate) fn forward(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
        trace: &mut Trace<B>,
    ) -> Tensor<B, 4> {
        let (output, is_activation) = match self {
            Self::Convolution(layer) => (layer.forward(input, None, pass), layer.has_activation()),
            Self::Residual(layer) => (layer.forward(index, input, pass, trace), false),
            Self::Dense(layer) => (layer.forward(index, input, pass, trace), false),
            Self::Norm(layer) => (layer.forward(input, pass.mode), true),
            Self::Linear(layer) => (layer.forward(input, pass.precision), layer.has_activation()),
            Self::Fixed(layer) => (layer.forward(index, input, pass), false),
        };
        // Blocks record the activations inside them.
        if is_activation {
            trace.record(index, "", &output);
        }
        output
    }
}

/// The mean of each channel of each image, `[batch, channels, 1, 1]`.
fn global_average<B: DenseBackend>(input: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, height, width] = input.dims();
    match height == width {
        true => ops::average_pool(input, width),
        false => input.mean_dim(3).mean_dim(2),
    }
}

impl Fixed {
    /// Runs the layer. `index` is its position in the plan, the key of a dropout layer's masks.
    fn forward<B: DenseBackend>(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        match self.operation {
            Operation::AveragePool { size } => ops::average_pool(input, size),
            Operation::MaxPool { size } => ops::max_pool(input, size),
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
