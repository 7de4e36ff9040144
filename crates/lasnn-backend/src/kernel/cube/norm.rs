//! Batch norm: a few passes over a map where stock operations take dozens.
//!
//! Sums over a channel are shared by several cubes, each with a part of the channel's numbers. How many parts
//! there are follows from the shape alone, and parts are added up in their order, so the same map gives the
//! same sums on every run.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty, empty_like, numbers, units};
use crate::backend::Normalised;

/// Units of a cube that adds up.
const UNITS: usize = 256;

/// Cubes that keep every multiprocessor busy.
const BUSY: usize = 512;

/// The shape of a map and how the numbers of a channel are dealt out.
#[derive(Clone, Copy)]
struct Channels {
    count: usize,
    positions: usize,
    numbers: usize,
    parts: usize,
}

impl Channels {
    fn of<R: CubeRuntime>(map: &CubeTensor<R>) -> Self {
        let [images, count, height, width] = map.meta.shape().dims();
        let (positions, numbers) = (height * width, images * height * width);
        let parts = BUSY.div_ceil(count).min(numbers.div_ceil(UNITS));
        Self { count, positions, numbers, parts }
    }

    fn cubes(self) -> (CubeCount, CubeDim) {
        (CubeCount::Static(self.count as u32, self.parts as u32, 1), CubeDim::new_1d(UNITS as u32))
    }
}

/// Where number `at` of a channel lies in the map.
#[cube]
fn place(at: usize, channel: usize, channels: usize, positions: usize) -> usize {
    (at / positions * channels + channel) * positions + at % positions
}

/// The number of a channel that a part begins with, or that the last one ends before.
#[cube]
fn first_of_part(part: usize, numbers: usize, parts: usize) -> usize {
    min(part * numbers.div_ceil(parts), numbers)
}

#[cube]
fn rectified<F: Float>(value: F, #[comptime] relu: bool) -> F {
    if comptime!(relu) { max(value, F::new(0.0)) } else { value }
}

/// The sum of the values of all units of a cube.
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

/// Each cube adds up a part of a channel: its numbers, or the squares of their distances from the mean.
#[cube(launch, address_type = "dynamic")]
fn sums_kernel<F: Float>(
    map: &Array<F>,
    means: &Array<F>,
    sums: &mut Array<F>,
    channels: usize,
    positions: usize,
    numbers: usize,
    parts: usize,
    #[comptime] squares: bool,
    #[define(F)] _dtype: StorageType,
) {
    let (channel, part) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let end = first_of_part(part + 1, numbers, parts);
    let mut at = first_of_part(part, numbers, parts) + UNIT_POS as usize;
    let mut sum = F::new(0.0);
    while at < end {
        let number = map[place(at, channel, channels, positions)];
        if comptime!(squares) {
            let distance = number - means[channel];
            sum += distance * distance;
        } else {
            sum += number;
        }
        at += UNITS;
    }
    let sum = cube_sum::<F>(sum);
    if UNIT_POS == 0 {
        sums[part * channels + channel] = sum;
    }
}

/// Each cube adds up a part of a channel: the gradients, and their products with distances from the mean.
#[cube(launch, address_type = "dynamic")]
fn gradient_sums_kernel<F: Float>(
    map: &Array<F>,
    grad: &Array<F>,
    means: &Array<F>,
    sums: &mut Array<F>,
    products: &mut Array<F>,
    channels: usize,
    positions: usize,
    numbers: usize,
    parts: usize,
    #[define(F)] _dtype: StorageType,
) {
    let (channel, part) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let end = first_of_part(part + 1, numbers, parts);
    let mut at = first_of_part(part, numbers, parts) + UNIT_POS as usize;
    let mut sum = F::new(0.0);
    let mut product = F::new(0.0);
    while at < end {
        let place = place(at, channel, channels, positions);
        let grad = grad[place];
        sum += grad;
        product += grad * (map[place] - means[channel]);
        at += UNITS;
    }
    let sum = cube_sum::<F>(sum);
    let product = cube_sum::<F>(product);
    if UNIT_POS == 0 {
        sums[part * channels + channel] = sum;
        products[part * channels + channel] = product;
    }
}

/// The sum of a channel's parts, times a factor.
#[cube(launch, address_type = "dynamic")]
fn total_kernel<F: Float>(
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
fn batch_norm_kernel<F: Float>(
    map: &Array<F>,
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
    if ABSOLUTE_POS >= map.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS / positions % channels;
    let scale = gamma[channel] / (variances[channel] + epsilon.get::<F>()).sqrt();
    let value = (map[ABSOLUTE_POS] - means[channel]) * scale + beta[channel];
    output[ABSOLUTE_POS] = rectified::<F>(value, relu);
}

/// `scale · x + shift`
#[cube(launch, address_type = "dynamic")]
fn scale_kernel<F: Float>(
    map: &Array<F>,
    scale: &Array<F>,
    shift: &Array<F>,
    output: &mut Array<F>,
    channels: usize,
    positions: usize,
    #[comptime] relu: bool,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= map.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS / positions % channels;
    let value = map[ABSOLUTE_POS] * scale[channel] + shift[channel];
    output[ABSOLUTE_POS] = rectified::<F>(value, relu);
}

/// With `p` the sum of `dy · (x - µ)`, `s` that of `dy` and `n` numbers in a channel,
///
/// ```text
/// dβ = s        dγ = p / d        dx = γ / d · (dy - s / n - (x - µ) · p / (n · d²))        d = sqrt(σ² + ε)
/// ```
#[cube(launch, address_type = "dynamic")]
fn batch_norm_grad_kernel<F: Float>(
    map: &Array<F>,
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
    share: InputScalar,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= map.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS / positions % channels;
    let share = share.get::<F>();
    let square = variances[channel] + epsilon.get::<F>();
    let deviation = square.sqrt();
    let product = products[channel];
    let common = sums[channel] * share;
    let slope = product * share / square;
    let distance = map[ABSOLUTE_POS] - means[channel];
    input_grad[ABSOLUTE_POS] =
        (grad[ABSOLUTE_POS] - common - distance * slope) * (gamma[channel] / deviation);
    if ABSOLUTE_POS < channels {
        let channel = ABSOLUTE_POS;
        let deviation = (variances[channel] + epsilon.get::<F>()).sqrt();
        gamma_grad[channel] = products[channel] / deviation;
    }
}

/// Sums of parts of channels, `[parts, channels]`; of squared distances where there are means.
fn sums<R: CubeRuntime>(
    map: &CubeTensor<R>,
    means: Option<&CubeTensor<R>>,
    channels: Channels,
) -> CubeTensor<R> {
    let sums = empty(map, Shape::new([channels.parts, channels.count]));
    let (count, dim) = channels.cubes();
    sums_kernel::launch::<R>(
        &map.client,
        count,
        dim,
        map.required_address_type(),
        map.clone().into_array_arg(),
        means.unwrap_or(map).clone().into_array_arg(),
        sums.clone().into_array_arg(),
        channels.count,
        channels.positions,
        channels.numbers,
        channels.parts,
        means.is_some(),
        map.dtype.into(),
    );
    sums
}

/// The sums of parts as sums of channels, `[channels]`, times a factor.
fn totals<R: CubeRuntime>(sums: CubeTensor<R>, factor: f64, channels: Channels) -> CubeTensor<R> {
    let totals = empty(&sums, Shape::new([channels.count]));
    let (count, dim) = units(&sums, channels.count);
    let (client, dtype) = (sums.client.clone(), sums.dtype.into());
    total_kernel::launch::<R>(
        &client,
        count,
        dim,
        sums.required_address_type(),
        sums.into_array_arg(),
        totals.clone().into_array_arg(),
        InputScalar::new(factor, dtype),
        channels.parts,
        dtype,
    );
    totals
}

/// The sums over everything but the channels.
pub(super) fn channel_sums<R: CubeRuntime>(map: CubeTensor<R>) -> CubeTensor<R> {
    let map = into_contiguous(map);
    let channels = Channels::of(&map);
    totals(sums(&map, None, channels), 1.0, channels)
}

/// [`DenseBackend::batch_norm`](crate::DenseBackend::batch_norm) of a map that is not empty.
pub(super) fn batch_norm<R: CubeRuntime>(
    map: CubeTensor<R>,
    scales: [CubeTensor<R>; 2],
    epsilon: f64,
    relu: bool,
) -> Normalised<CubeTensor<R>> {
    let (map, [gamma, beta]) = (into_contiguous(map), scales.map(into_contiguous));
    let channels = Channels::of(&map);
    let share = 1.0 / channels.numbers as f64;
    let mean = totals(sums(&map, None, channels), share, channels);
    let variance = totals(sums(&map, Some(&mean), channels), share, channels);
    let output = empty_like(&map);
    let (count, dim) = units(&map, numbers(&map));
    let (client, dtype) = (map.client.clone(), map.dtype.into());
    batch_norm_kernel::launch::<R>(
        &client,
        count,
        dim,
        map.required_address_type(),
        map.into_array_arg(),
        gamma.into_array_arg(),
        beta.into_array_arg(),
        mean.clone().into_array_arg(),
        variance.clone().into_array_arg(),
        output.clone().into_array_arg(),
        channels.count,
        channels.positions,
        InputScalar::new(epsilon, dtype),
        relu,
        dtype,
    );
    Normalised { output, mean, variance }
}

/// [`DenseBackend::batch_norm_backward`](crate::DenseBackend::batch_norm_backward) of a map that is not empty,
/// given the gradient before the rectifier.
pub(super) fn batch_norm_backward<R: CubeRuntime>(
    map: CubeTensor<R>,
    gamma: CubeTensor<R>,
    statistics: [CubeTensor<R>; 2],
    grad: CubeTensor<R>,
    epsilon: f64,
) -> [CubeTensor<R>; 3] {
    let [map, grad, gamma] = [map, grad, gamma].map(into_contiguous);
    let [mean, variance] = statistics.map(into_contiguous);
    let channels = Channels::of(&map);
    let [sums, products] =
        [(); 2].map(|()| empty(&map, Shape::new([channels.parts, channels.count])));
    let (client, dtype) = (map.client.clone(), map.dtype.into());
    let (count, dim) = channels.cubes();
    gradient_sums_kernel::launch::<R>(
        &client,
        count,
        dim,
        map.required_address_type(),
        map.clone().into_array_arg(),
        grad.clone().into_array_arg(),
        mean.clone().into_array_arg(),
        sums.clone().into_array_arg(),
        products.clone().into_array_arg(),
        channels.count,
        channels.positions,
        channels.numbers,
        channels.parts,
        dtype,
    );
    let [sums, products] = [sums, products].map(|sums| totals(sums, 1.0, channels));
    let (input_grad, gamma_grad) = (empty_like(&map), empty_like(&gamma));
    let (count, dim) = units(&map, numbers(&map));
    batch_norm_grad_kernel::launch::<R>(
        &client,
        count,
        dim,
        map.required_address_type(),
        map.into_array_arg(),
        grad.into_array_arg(),
        gamma.into_array_arg(),
        mean.into_array_arg(),
        variance.into_array_arg(),
        sums.clone().into_array_arg(),
        products.into_array_arg(),
        input_grad.clone().into_array_arg(),
        gamma_grad.clone().into_array_arg(),
        channels.count,
        channels.positions,
        InputScalar::new(epsilon, dtype),
        InputScalar::new(1.0 / channels.numbers as f64, dtype),
        dtype,
    );
    [input_grad, gamma_grad, sums]
}

/// [`DenseBackend::scale_and_shift`](crate::DenseBackend::scale_and_shift) of a map that is not empty.
pub(super) fn scale_and_shift<R: CubeRuntime>(
    map: CubeTensor<R>,
    [scale, shift]: [CubeTensor<R>; 2],
    relu: bool,
) -> CubeTensor<R> {
    let [map, scale, shift] = [map, scale, shift].map(into_contiguous);
    let channels = Channels::of(&map);
    let output = empty_like(&map);
    let (count, dim) = units(&map, numbers(&map));
    let (client, dtype) = (map.client.clone(), map.dtype.into());
    scale_kernel::launch::<R>(
        &client,
        count,
        dim,
        map.required_address_type(),
        map.into_array_arg(),
        scale.into_array_arg(),
        shift.into_array_arg(),
        output.clone().into_array_arg(),
        channels.count,
        channels.positions,
        relu,
        dtype,
    );
    output
}
