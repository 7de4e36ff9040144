//! Batch norm: after a convolution in one operation, and as a layer of its own.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::batch_norm::{batch_norm, update_running_statistics};
use lasnn_backend::{ConvBatchNorm, Convolution, DenseBackend, ops};
use lasnn_core::Mode;

use crate::activations::{Activation, ActivationLayer};
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

/// A batch norm and an activation as a layer of their own.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    norm: BatchNorm<B>,
    activation: Activation<B>,
}

impl<B: Backend> Norm<B> {
    pub(crate) fn new(initializer: &Initializer<'_, B>, channels: usize) -> Self {
        Self { norm: initializer.norm(channels), activation: initializer.activation() }
    }

    /// See [`lasnn_nn::Constrained`].
    pub(crate) fn constrained(self) -> Self {
        Self { activation: self.activation.constrained(), ..self }
    }
}

impl<B: DenseBackend> Norm<B> {
    pub(crate) fn forward(&self, input: Tensor<B, 4>, mode: Mode) -> Tensor<B, 4> {
        self.activation.after(|relu| batch_norm(&self.norm, input, mode, relu))
    }
}
