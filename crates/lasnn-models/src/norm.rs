//! Batch norm whose statistics depend on the mode of the pass.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{ConvBatchNorm, Convolution, DenseBackend, ops};
use lasnn_core::Mode;

use crate::activations::{Activation, ActivationLayer};
use crate::init::Initializer;

/// Normalises each channel: `y = γ · (x - µ) / sqrt(σ² + ε) + β`; followed by a ReLU if `relu`.
///
/// In [`Mode::Train`], µ and σ² are the statistics of the batch, and the running statistics move
/// towards them. In [`Mode::Evaluate`], µ and σ² are the running statistics. Burn's own `forward`
/// decides by the backend instead of the mode, so that an evaluation on an autodiff backend would
/// change the network. It also transposes the feature map to compute its statistics.
///
/// The running variance takes the batch variance with divisor n, while PyTorch takes divisor n − 1.
/// With n = batch · height · width, the difference is far below the noise of a batch.
///
/// # Shapes
///
/// - `input`: `[batch, channels, height, width]`
/// - result: the shape of `input`
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
            update_running_statistics(norm, statistics);
            output
        }
        Mode::Evaluate => {
            let scale = gamma / (norm.running_var.value_sync() + norm.epsilon).sqrt();
            let shift = beta - norm.running_mean.value_sync() * scale.clone();
            ops::scale_and_shift(input, scale, shift, relu)
        }
    }
}

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

/// Moves the running statistics towards the statistics of the batch.
fn update_running_statistics<B: Backend>(norm: &BatchNorm<B>, [mean, variance]: [Tensor<B, 1>; 2]) {
    for (running, batch) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let before = running.value_sync();
        let after = before * (1.0 - norm.momentum) + batch.detach() * norm.momentum;
        running.update(after.detach());
    }
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
