//! A convolution with optional batch norm and activation.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::batch_norm::batch_norm;
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Mode, Pass, Precision};

use crate::activations::{Activation, ActivationLayer};
use crate::init::Initializer;
use crate::norm::conv2d_batch_norm;

/// A convolution, then batch norm and an activation if the description has them.
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    conv: Conv2d<B>,
    norm: Option<BatchNorm<B>>,
    activation: Option<Activation<B>>,
}

/// The description of a [`Convolution`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvolutionSpec {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub bias: bool,
    pub batch_norm: bool,
    pub activation: bool,
}

impl<B: Backend> Convolution<B> {
    pub(crate) fn new(initializer: &mut Initializer<'_, B>, spec: ConvolutionSpec) -> Self {
        let ConvolutionSpec { inputs, outputs, kernel, stride, bias, batch_norm, activation } =
            spec;
        Self {
            conv: initializer.convolution([inputs, outputs], kernel, stride, bias),
            norm: batch_norm.then(|| initializer.norm(outputs)),
            activation: activation.then(|| initializer.activation()),
        }
    }

    /// Whether the layer ends in an activation.
    pub(crate) fn has_activation(&self) -> bool {
        self.activation.is_some()
    }

    /// See [`ActivationLayer::constrained`].
    pub(crate) fn constrained(self) -> Self {
        let activation = self.activation.map(ActivationLayer::<B>::constrained);
        Self { activation, ..self }
    }
}

impl<B: DenseBackend> Convolution<B> {
    /// Convolution and batch norm of `input`, plus `added`, then the activation.
    pub(crate) fn forward(
        &self,
        input: Tensor<B, 4>,
        added: Option<Tensor<B, 4>>,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        let operation = |relu| self.run(input, added, relu, pass);
        match &self.activation {
            Some(activation) => activation.after(operation),
            None => operation(false),
        }
    }

    /// The layer without its activation; followed by a ReLU if `relu`.
    fn run(
        &self,
        input: Tensor<B, 4>,
        added: Option<Tensor<B, 4>>,
        relu: bool,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        match (&self.norm, pass.mode, &self.conv.bias) {
            (Some(norm), Mode::Train, None) => {
                let convolution = options(&self.conv, pass.precision);
                conv2d_batch_norm(norm, input, self.conv.weight.val(), added, convolution, relu)
            }
            (norm, mode, _) => {
                let layer_relu = relu && added.is_none();
                let convolve = |relu| conv2d(&self.conv, input, pass.precision, relu);
                let output = match norm {
                    Some(norm) => batch_norm(norm, convolve(false), mode, layer_relu),
                    None => convolve(layer_relu),
                };
                match added {
                    Some(added) if relu => ops::add_relu(output, added),
                    Some(added) => output + added,
                    None => output,
                }
            }
        }
    }
}

/// Runs Burn's layer with the convolution of [`DenseBackend`]; followed by a ReLU if `relu`.
pub(crate) fn conv2d<B: DenseBackend>(
    conv: &Conv2d<B>,
    input: Tensor<B, 4>,
    precision: Precision,
    relu: bool,
) -> Tensor<B, 4> {
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    ops::conv2d(input, conv.weight.val(), bias, options(conv, precision), relu)
}

fn options<B: Backend>(conv: &Conv2d<B>, precision: Precision) -> lasnn_backend::Convolution {
    lasnn_backend::Convolution {
        stride: conv.stride[0],
        // `Initializer::convolution` sets this padding.
        padding: conv.kernel_size[0] / 2,
        precision,
    }
}
