//! Convolution, batch norm, activation: the brick of every network here.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Pass, Precision};

use crate::init::Weights;
use crate::norm::normalise;

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
        match &self.norm {
            Some(norm) => {
                let output = convolve(&self.conv, input, pass.precision, false);
                normalise(norm, output, pass.mode, self.activation)
            }
            None => convolve(&self.conv, input, pass.precision, self.activation),
        }
    }
}

/// Burn's layer by way of [`DenseBackend`]; negative values as zero if `rectify`.
pub(crate) fn convolve<B: DenseBackend>(
    conv: &Conv2d<B>,
    input: Tensor<B, 4>,
    precision: Precision,
    rectify: bool,
) -> Tensor<B, 4> {
    let shape = lasnn_backend::Convolution {
        stride: conv.stride[0],
        // As `Weights::convolution` has made it.
        padding: conv.kernel_size[0] / 2,
        precision,
    };
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    ops::convolve(input, conv.weight.val(), bias, shape, rectify)
}
