//! Batch norm: after a convolution in one operation, and as a layer of its own.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::batch_norm::{batch_norm, update_running_statistics};
use lasnn_backend::{ConvBatchNorm, Convolution, DenseBackend, ops};
use lasnn_core::Mode;

use crate::init::Initializer;

/// A convolution followed by this batch norm in [`Mode::Train`], plus `added`; followed by a ReLU
/// if `relu`.
pub(crate) fn conv2d_batch_norm<B: DenseBackend>(
    norm: &BatchNorm<B>,
    input: Tensor<B, 4>,
    weights: Tensor<B, 4>,
    added: Option<Tensor<B, 4>>,
    convolution: Convolution,
    relu: bool,
) -> Tensor<B, 4> {
    let layer = ConvBatchNorm { convolution, epsilon: norm.epsilon, relu };
    let affine = [norm.gamma.val(), norm.beta.val()];
    let (output, statistics) = ops::conv2d_batch_norm(input, weights, affine, added, layer);
    update_running_statistics(norm, statistics);
    output
}

/// A batch norm and a ReLU as a layer of their own.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    norm: BatchNorm<B>,
}

impl<B: Backend> Norm<B> {
    pub(crate) fn new(initializer: &Initializer<'_, B>, channels: usize) -> Self {
        Self { norm: initializer.norm(channels) }
    }
}

impl<B: DenseBackend> Norm<B> {
    pub(crate) fn forward(&self, input: Tensor<B, 4>, mode: Mode) -> Tensor<B, 4> {
        batch_norm(&self.norm, input, mode, true)
    }
}
