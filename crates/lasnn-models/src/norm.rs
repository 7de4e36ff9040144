//! Batch norm that does what the pass says.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{Convolution, DenseBackend, NormalisedConvolution, ops};
use lasnn_core::Mode;

use crate::init::Weights;

/// Normalises each channel: `y = γ · (x - µ) / sqrt(σ² + ε) + β`; negative values become zero if
/// `relu`.
///
/// In [`Mode::Train`] µ and σ² are those of the batch, and the running statistics move towards
/// them; in [`Mode::Evaluate`] they are the running statistics. Burn's own `forward` decides by
/// the backend instead of the mode, so it would let a measurement on an autodiff backend change
/// the network; and it transposes the feature map for its statistics.
///
/// The running variance follows the batch variance with divisor n, where PyTorch divides by
/// n − 1; with n = batch · height · width the difference is far below the noise of a batch.
///
/// # Shapes
///
/// `[batch, channels, height, width]`, in and out.
pub(crate) fn batch_norm<B: DenseBackend>(
    norm: &BatchNorm<B>,
    input: Tensor<B, 4>,
    mode: Mode,
    relu: bool,
) -> Tensor<B, 4> {
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    match mode {
        Mode::Train => {
            let (output, statistics) = ops::batch_norm(input, gamma, beta, norm.epsilon, relu);
            follow(norm, statistics);
            output
        }
        Mode::Evaluate => {
            let scale = gamma / (norm.running_var.value_sync() + norm.epsilon).sqrt();
            let shift = beta - norm.running_mean.value_sync() * scale.clone();
            ops::scale_and_shift(input, scale, shift, relu)
        }
    }
}

/// A convolution with this batch norm behind it, in [`Mode::Train`], plus what is `added` before the
/// rectifier.
pub(crate) fn conv2d_batch_norm<B: DenseBackend>(
    norm: &BatchNorm<B>,
    input: Tensor<B, 4>,
    weights: Tensor<B, 4>,
    added: Option<Tensor<B, 4>>,
    convolution: Convolution,
    relu: bool,
) -> Tensor<B, 4> {
    let layer = NormalisedConvolution { convolution, epsilon: norm.epsilon, relu };
    let scales = [norm.gamma.val(), norm.beta.val()];
    let (output, statistics) = ops::conv2d_batch_norm(input, weights, scales, added, layer);
    follow(norm, statistics);
    output
}

/// Moves the running statistics towards those of the batch.
fn follow<B: Backend>(norm: &BatchNorm<B>, [mean, variance]: [Tensor<B, 1>; 2]) {
    for (running, batch) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let before = running.value_sync();
        let after = before * (1.0 - norm.momentum) + batch.detach() * norm.momentum;
        running.update(after.detach());
    }
}

/// Batch norm and activation without a convolution before them.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    norm: BatchNorm<B>,
}

impl<B: Backend> Norm<B> {
    pub(crate) fn new(weights: &Weights<'_, B>, channels: usize) -> Self {
        Self { norm: weights.norm(channels) }
    }
}

impl<B: DenseBackend> Norm<B> {
    pub(crate) fn forward(&self, input: Tensor<B, 4>, mode: Mode) -> Tensor<B, 4> {
        batch_norm(&self.norm, input, mode, true)
    }
}
