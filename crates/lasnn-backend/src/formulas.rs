//! The formulas of the [`reference`](mod@crate::reference) that are more than one of Burn's
//! operations, on tensors.

use burn::tensor::{Tensor, activation, backend::Backend};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

/// The sum of each channel over batch, rows and columns, `[channels]`.
pub(crate) fn channel_sums<B: Backend>(input: Tensor<B, 4>) -> Tensor<B, 1> {
    let [batch, channels, height, width] = input.dims();
    let rows = input.reshape([batch * channels, height * width]).sum_dim(1);
    rows.reshape([batch, channels]).sum_dim(0).reshape([channels])
}

/// `input · weights + bias`, with a ReLU if `relu`.
pub(crate) fn linear<B: Backend>(
    input: Tensor<B, 2>,
    weights: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    relu: bool,
) -> Tensor<B, 2> {
    let output = input.matmul(weights);
    let output = match bias {
        Some(bias) => output + bias.unsqueeze(),
        None => output,
    };
    if relu { activation::relu(output) } else { output }
}

/// Repeats a value per channel to a column `[batch · channels, 1]`.
///
/// The formulas treat a feature map as a matrix `[batch · channels, positions]`. Statistics are
/// then sums of rows, for which CPU backends have fast paths.
fn per_row<B: Backend>(per_channel: Tensor<B, 1>, batch: usize) -> Tensor<B, 2> {
    let [channels] = per_channel.dims();
    let rows = per_channel.reshape([1, channels]).expand([batch, channels]);
    rows.reshape([batch * channels, 1])
}

/// Batch norm with the statistics of the batch: the output, the mean and the variance.
pub(crate) fn batch_norm<B: Backend>(
    input: Tensor<B, 4>,
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    epsilon: f64,
    relu: bool,
) -> (Tensor<B, 4>, Tensor<B, 1>, Tensor<B, 1>) {
    let shape = input.dims();
    let [batch, channels, height, width] = shape;
    let per_channel = |rows: Tensor<B, 2>| -> Tensor<B, 1> {
        rows.mean_dim(1).reshape([batch, channels]).mean_dim(0).reshape([channels])
    };
    let rows = input.reshape([batch * channels, height * width]);
    let mean = per_channel(rows.clone());
    let centred = rows - per_row(mean.clone(), batch);
    let variance = per_channel(centred.clone() * centred.clone());
    let scale = gamma / (variance.clone() + epsilon).sqrt();
    let output = (centred * per_row(scale, batch) + per_row(beta, batch)).reshape(shape);
    (if relu { activation::relu(output) } else { output }, mean, variance)
}

/// The gradients with respect to input, γ and β of [`batch_norm`] without a ReLU:
///
/// ```text
/// x̂  = (x - µ) / sqrt(σ² + ε)
/// dβ = Σ dy
/// dγ = Σ dy · x̂
/// dx = γ / sqrt(σ² + ε) · (dy - dβ / n - x̂ · dγ / n)
/// ```
///
/// The sums are over the n elements of a channel.
pub(crate) fn batch_norm_backward<B: Backend>(
    input: Tensor<B, 4>,
    gamma: Tensor<B, 1>,
    mean: Tensor<B, 1>,
    variance: Tensor<B, 1>,
    output_grad: Tensor<B, 4>,
    epsilon: f64,
) -> (Tensor<B, 4>, Tensor<B, 1>, Tensor<B, 1>) {
    let shape = input.dims();
    let [batch, channels, height, width] = shape;
    let rows = [batch * channels, height * width];
    let deviation = (variance + epsilon).sqrt();
    let centred = input.reshape(rows) - per_row(mean, batch);
    let normalised = centred / per_row(deviation.clone(), batch);
    let grad = output_grad.reshape(rows);
    let beta_grad = channel_sums(grad.clone().reshape(shape));
    let gamma_grad = channel_sums((grad.clone() * normalised.clone()).reshape(shape));
    let count = (batch * height * width) as f64;
    let mean_grad = per_row(beta_grad.clone() / count, batch)
        + normalised * per_row(gamma_grad.clone() / count, batch);
    let input_grad = (grad - mean_grad) * per_row(gamma / deviation, batch);
    (input_grad.reshape(shape), gamma_grad, beta_grad)
}

/// `scale · x + shift` with a scale and a shift for each channel.
pub(crate) fn scale_and_shift<B: Backend>(
    input: Tensor<B, 4>,
    scale: Tensor<B, 1>,
    shift: Tensor<B, 1>,
) -> Tensor<B, 4> {
    let shape = input.dims();
    let [batch, channels, height, width] = shape;
    let rows = input.reshape([batch * channels, height * width]);
    (rows * per_row(scale, batch) + per_row(shift, batch)).reshape(shape)
}

/// One step of Adam by the formula of [`AdamStep`].
pub(crate) fn adam<B: Backend>(
    step: &AdamStep,
    parameter: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    [mean, square]: [Tensor<B, 1>; 2],
    max_square: Option<Tensor<B, 1>>,
) -> (Tensor<B, 1>, [Tensor<B, 1>; 2], Option<Tensor<B, 1>>) {
    let gradient = with_weight_decay(step.coupled_decay(), &parameter, gradient);
    let mean = mean * step.beta1 + gradient.clone() * (1.0 - step.beta1);
    let square = square * step.beta2 + gradient.square() * (1.0 - step.beta2);
    let max_square = max_square.map(|previous| previous.max_pair(square.clone()));
    let scale = max_square.as_ref().unwrap_or(&square).clone().sqrt();
    let scale = scale / step.root() + step.epsilon;
    let parameter = parameter * step.decay_factor() - mean.clone() / scale * step.corrected_rate();
    (parameter, [mean, square], max_square)
}

/// One step of stochastic gradient descent by the formula of [`SgdStep`].
pub(crate) fn sgd<B: Backend>(
    step: &SgdStep,
    parameter: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    buffer: Option<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Option<Tensor<B, 1>>) {
    let gradient = with_weight_decay(step.weight_decay, &parameter, gradient);
    let Some(buffer) = buffer else {
        return (parameter - gradient * step.rate, None);
    };
    let buffer = buffer * step.momentum + gradient.clone();
    let direction = match step.nesterov {
        true => gradient + buffer.clone() * step.momentum,
        false => buffer.clone(),
    };
    (parameter - direction * step.rate, Some(buffer))
}

/// The gradient of the loss plus `weight_decay / 2` times the squared norm of the parameter.
fn with_weight_decay<B: Backend>(
    weight_decay: f64,
    parameter: &Tensor<B, 1>,
    gradient: Tensor<B, 1>,
) -> Tensor<B, 1> {
    match weight_decay {
        0.0 => gradient,
        _ => gradient + parameter.clone() * weight_decay,
    }
}
