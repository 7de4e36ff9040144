//! Batch norm that does what the pass says.

use burn::module::{Module, RunningState};
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, activation::relu, backend::Backend};
use lasnn_core::Mode;

use crate::init::Weights;

/// Normalises each channel: `y = γ · (x − µ) / sqrt(σ² + ε) + β`.
///
/// In [`Mode::Train`] µ and σ² are those of the batch, and the running statistics move towards
/// them; in [`Mode::Evaluate`] they are the running statistics. Burn's own `forward` decides by
/// the backend instead of the mode, so it would let a measurement on an autodiff backend change
/// the network; and it transposes the feature map for its statistics. Here a feature map is a matrix
/// `[batch · channels, positions]`, in which statistics are sums of rows and a number per channel is
/// a number per row: CPU backends have fast paths for both.
///
/// The running variance follows the batch variance with divisor n, where PyTorch divides by
/// n − 1; with n = batch · height · width the difference is far below the noise of a batch.
///
/// # Shapes
///
/// `[batch, channels, height, width]`, in and out.
pub(crate) fn normalise<B: Backend>(
    norm: &BatchNorm<B>,
    input: Tensor<B, 4>,
    mode: Mode,
) -> Tensor<B, 4> {
    let shape = input.dims();
    let [batch, channels, height, width] = shape;
    let per_row = |per_channel: Tensor<B, 1>| -> Tensor<B, 2> {
        let rows = per_channel.reshape([1, channels]).expand([batch, channels]);
        rows.reshape([batch * channels, 1])
    };
    let per_channel = |rows: Tensor<B, 2>| -> Tensor<B, 1> {
        rows.mean_dim(1).reshape([batch, channels]).mean_dim(0).reshape([channels])
    };
    let rows = input.reshape([batch * channels, height * width]);
    let (centred, variance) = match mode {
        Mode::Train => {
            let mean = per_channel(rows.clone());
            let centred = rows - per_row(mean.clone());
            let variance = per_channel(centred.clone() * centred.clone());
            follow(&norm.running_mean, mean, norm.momentum);
            follow(&norm.running_var, variance.clone(), norm.momentum);
            (centred, variance)
        }
        Mode::Evaluate => {
            (rows - per_row(norm.running_mean.value_sync()), norm.running_var.value_sync())
        }
    };
    let scale = norm.gamma.val() / (variance + norm.epsilon).sqrt();
    (centred * per_row(scale) + per_row(norm.beta.val())).reshape(shape)
}

/// Moves a running statistic towards that of the batch.
fn follow<B: Backend>(running: &RunningState<Tensor<B, 1>>, batch: Tensor<B, 1>, momentum: f64) {
    let before = running.value_sync();
    running.update((before * (1.0 - momentum) + batch.detach() * momentum).detach());
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

    pub(crate) fn forward(&self, input: Tensor<B, 4>, mode: Mode) -> Tensor<B, 4> {
        relu(normalise(&self.norm, input, mode))
    }
}
