//! Convolution, batch norm, activation: the brick of every network here.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Mode, Pass, Precision};

use crate::init::Weights;
use crate::norm::{batch_norm, conv2d_batch_norm};

/// Convolution, then batch norm and activation where wanted.
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    conv: Conv2d<B>,
    norm: Option<BatchNorm<B>>,
    activation: bool,
}

/// What a [`Convolution`] is made from.
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
    pub(crate) fn new(weights: &mut Weights<'_, B>, spec: ConvolutionSpec) -> Self {
        let ConvolutionSpec { inputs, outputs, kernel, stride, bias, batch_norm, activation } =
            spec;
        Self {
            conv: weights.convolution([inputs, outputs], kernel, stride, bias),
            norm: batch_norm.then(|| weights.norm(outputs)),
            activation,
        }
    }

    /// Whether the output is an activation.
    pub(crate) fn has_activation(&self) -> bool {
        self.activation
    }
}

impl<B: DenseBackend> Convolution<B> {
    pub(crate) fn forward(&self, input: Tensor<B, 4>, pass: &Pass<'_>) -> Tensor<B, 4> {
        self.run(input, None, self.activation, pass)
    }

    /// The rectified sum of the layer without its activation and of another map.
    pub(crate) fn forward_added(
        &self,
        input: Tensor<B, 4>,
        added: Tensor<B, 4>,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        self.run(input, Some(added), true, pass)
    }

    fn run(
        &self,
        input: Tensor<B, 4>,
        added: Option<Tensor<B, 4>>,
        relu: bool,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        match (&self.norm, pass.mode, &self.conv.bias) {
            (Some(norm), Mode::Train, None) => {
                let convolution = shape(&self.conv, pass.precision);
                conv2d_batch_norm(norm, input, self.conv.weight.val(), added, convolution, relu)
            }
            (norm, mode, _) => {
                let alone = relu && added.is_none();
                let conv2d = |relu| conv2d(&self.conv, input, pass.precision, relu);
                let output = match norm {
                    Some(norm) => batch_norm(norm, conv2d(false), mode, alone),
                    None => conv2d(alone),
                };
                match added {
                    Some(added) => ops::rectified_sum(output, added),
                    None => output,
                }
            }
        }
    }
}

/// Burn's layer by way of [`DenseBackend`]; negative values as zero if `relu`.
pub(crate) fn conv2d<B: DenseBackend>(
    conv: &Conv2d<B>,
    input: Tensor<B, 4>,
    precision: Precision,
    relu: bool,
) -> Tensor<B, 4> {
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    ops::conv2d(input, conv.weight.val(), bias, shape(conv, precision), relu)
}

fn shape<B: Backend>(conv: &Conv2d<B>, precision: Precision) -> lasnn_backend::Convolution {
    lasnn_backend::Convolution {
        stride: conv.stride[0],
        // As `Weights::convolution` has made it.
        padding: conv.kernel_size[0] / 2,
        precision,
    }
}
