//! The kernels of batch norm. The launchers are in the parent module.

use cubecl::prelude::*;

/// Units in a cube that adds up.
pub(super) const UNITS: usize = 256;

/// The index in the feature map of element `at` of a channel.
#[cube]
fn element_index(at: usize, channel: usize, channels: usize, positions: usize) -> usize {
    (at / positions * channels + channel) * positions + at % positions
}

/// The first element of a part of a channel; for `part == parts`, the number of elements.
#[cube]
fn first_of_part(part: usize, elements: usize, parts: usize) -> usize {
    min(part * elements.div_ceil(parts), elements)
}

#[cube]
fn relu_if<F: Float>(value: F, #[comptime] relu: bool) -> F {
    if comptime!(relu) { max(value, F::new(0.0)) } else { value }
}

/// The sum of the values of all units of a cube, in a fixed order.
#[cube]
fn cube_sum<F: Float>(value: F) -> F {
    let mut sums = SharedMemory::<F>::new(UNITS);
    let unit = UNIT_POS as usize;
    sums[unit] = value;
    sync_cube();
    let mut reach = (UNITS / 2).runtime();
    while reach > 0 {
        if unit < reach {
            let other = sums[unit + reach];
            sums[unit] += other;
        }
        sync_cube();
        reach /= 2;
    }
    sums[0]
}

/// Each cube adds up one part of a channel: its elements, or their squared deviations from the
/// mean.
#[cube(launch, address_type = "dynamic")]
pub(super) fn sums_kernel<F: Float>(
    input: &Array<F>,
    means: &Array<F>,
    sums: &mut Array<F>,
    channels: usize,
    positions: usize,
    elements: usize,
    parts: usize,
    #[comptime] squared: bool,
    #[define(F)] _dtype: StorageType,
) {
    let (channel, part) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let end = first_of_part(part + 1, elements, parts);
    let mut at = first_of_part(part, elements, parts) + UNIT_POS as usize;
    let mut sum = F::new(0.0);
    while at < end {
        let value = input[element_index(at, channel, channels, positions)];
        if comptime!(squared) {
            let deviation = value - means[channel];
            sum += deviation * deviation;
        } else {
            sum += value;
        }
        at += UNITS;
    }
    let sum = cube_sum::<F>(sum);
    if UNIT_POS == 0 {
        sums[part * channels + channel] = sum;
    }
}

/// Each cube adds up one part of a channel: the gradients, and the gradients times the deviations
/// from the mean.
#[cube(launch, address_type = "dynamic")]
pub(super) fn gradient_sums_kernel<F: Float>(
    input: &Array<F>,
    grad: &Array<F>,
    means: &Array<F>,
    sums: &mut Array<F>,
    products: &mut Array<F>,
    channels: usize,
    positions: usize,
    elements: usize,
    parts: usize,
    #[define(F)] _dtype: StorageType,
) {
    let (channel, part) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let end = first_of_part(part + 1, elements, parts);
    let mut at = first_of_part(part, elements, parts) + UNIT_POS as usize;
    let mut sum = F::new(0.0);
    let mut product = F::new(0.0);
    while at < end {
        let index = element_index(at, channel, channels, positions);
        let grad = grad[index];
        sum += grad;
        product += grad * (input[index] - means[channel]);
        at += UNITS;
    }
    let sum = cube_sum::<F>(sum);
    let product = cube_sum::<F>(product);
    if UNIT_POS == 0 {
        sums[part * channels + channel] = sum;
        products[part * channels + channel] = product;
    }
}

/// The sum of the partial sums of each channel, times a factor.
#[cube(launch, address_type = "dynamic")]
pub(super) fn total_kernel<F: Float>(
    sums: &Array<F>,
    totals: &mut Array<F>,
    factor: InputScalar,
    parts: usize,
    #[define(F)] _dtype: StorageType,
) {
    let channels = totals.len();
    if ABSOLUTE_POS >= channels {
        terminate!();
    }
    let mut total = F::new(0.0);
    for part in 0..parts {
        total += sums[part * channels + ABSOLUTE_POS];
    }
    totals[ABSOLUTE_POS] = total * factor.get::<F>();
}

/// `γ · (x - µ) / sqrt(σ² + ε) + β`
#[cube(launch, address_type = "dynamic")]
pub(super) fn batch_norm_kernel<F: Float>(
    input: &Array<F>,
    gamma: &Array<F>,
    beta: &Array<F>,
    means: &Array<F>,
    variances: &Array<F>,
    output: &mut Array<F>,
    channels: usize,
    positions: usize,
    epsilon: InputScalar,
    #[comptime] relu: bool,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= input.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS / positions % channels;
    let scale = gamma[channel] / (variances[channel] + epsilon.get::<F>()).sqrt();
    let value = (input[ABSOLUTE_POS] - means[channel]) * scale + beta[channel];
    output[ABSOLUTE_POS] = relu_if::<F>(value, relu);
}

/// `scale · x + shift`
#[cube(launch, address_type = "dynamic")]
pub(super) fn scale_kernel<F: Float>(
    input: &Array<F>,
    scale: &Array<F>,
    shift: &Array<F>,
    output: &mut Array<F>,
    channels: usize,
    positions: usize,
    #[comptime] relu: bool,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= input.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS / positions % channels;
    let value = input[ABSOLUTE_POS] * scale[channel] + shift[channel];
    output[ABSOLUTE_POS] = relu_if::<F>(value, relu);
}

/// The gradients with respect to the input and γ, for `n` elements in a channel:
///
/// ```text
/// s  = Σ dy
/// p  = Σ dy · (x - µ)
/// d  = sqrt(σ² + ε)
/// dβ = s
/// dγ = p / d
/// dx = γ / d · (dy - s / n - (x - µ) · p / (n · d²))
/// ```
#[cube(launch, address_type = "dynamic")]
pub(super) fn batch_norm_grad_kernel<F: Float>(
    input: &Array<F>,
    grad: &Array<F>,
    gamma: &Array<F>,
    means: &Array<F>,
    variances: &Array<F>,
    sums: &Array<F>,
    products: &Array<F>,
    input_grad: &mut Array<F>,
    gamma_grad: &mut Array<F>,
    channels: usize,
    positions: usize,
    epsilon: InputScalar,
    inverse_count: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= input.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS / positions % channels;
    let inverse_count = inverse_count.get::<F>();
    let variance = variances[channel] + epsilon.get::<F>();
    let std = variance.sqrt();
    let product = products[channel];
    let mean_grad = sums[channel] * inverse_count;
    let scaled_product = product * inverse_count / variance;
    let deviation = input[ABSOLUTE_POS] - means[channel];
    input_grad[ABSOLUTE_POS] =
        (grad[ABSOLUTE_POS] - mean_grad - deviation * scaled_product) * (gamma[channel] / std);
    if ABSOLUTE_POS < channels {
        let channel = ABSOLUTE_POS;
        let std = (variances[channel] + epsilon.get::<F>()).sqrt();
        gamma_grad[channel] = products[channel] / std;
    }
}
