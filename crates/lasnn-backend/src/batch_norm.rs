//! Burn's batch norm module, with statistics that depend on the mode of the pass.

use burn::nn::BatchNorm;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Mode;

use crate::backend::DenseBackend;
use crate::ops;

/// Normalises each channel: `y = γ · (x - µ) / sqrt(σ² + ε) + β`; followed by a ReLU if `relu`.
///
/// In [`Mode::Train`], µ and σ² are the statistics of all rows, and the running statistics move
/// towards them. In [`Mode::Evaluate`], µ and σ² are the running statistics. Burn's own `forward`
/// decides by the backend instead of the mode, so that an evaluation on an autodiff backend would
/// change the network. It also transposes the feature map to compute its statistics.
///
/// The running variance takes the variance with divisor n, while PyTorch takes divisor n − 1.
/// With n = rows · height · width, the difference is far below the noise of a batch.
///
/// # Shapes
///
/// - `input`: `[rows, channels, height, width]`
/// - result: the shape of `input`
pub fn batch_norm<B: DenseBackend>(
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

/// Moves the running statistics towards the mean and the variance `[channels]` of a batch.
pub fn update_running_statistics<B: Backend>(
    norm: &BatchNorm<B>,
    [mean, variance]: [Tensor<B, 1>; 2],
) {
    for (running, batch) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let before = running.value_sync();
        let after = before * (1.0 - norm.momentum) + batch.detach() * norm.momentum;
        running.update(after.detach());
    }
}
