//! Batch norm in a few passes over a feature map, where Burn's operations take dozens.
//!
//! Several cubes share the sum over a channel; each adds up one part of the channel's elements. The
//! number of parts follows from the shape alone, and the partial sums are added in a fixed order,
//! so the same feature map gives the same sums on every run.

mod kernels;

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::kernels::{
    UNITS, batch_norm_grad_kernel, batch_norm_kernel, gradient_sums_kernel, scale_kernel,
    sums_kernel, total_kernel,
};
use super::launch::{elements, empty, empty_like, units};
use crate::backend::BatchNormOutput;

/// The number of cubes that keeps every multiprocessor busy.
const BUSY_CUBES: usize = 512;

/// The sizes of a feature map, and the number of parts that each channel is divided into.
#[derive(Clone, Copy)]
struct Channels {
    count: usize,
    positions: usize,
    elements: usize,
    parts: usize,
}

impl Channels {
    fn of<R: CubeRuntime>(input: &CubeTensor<R>) -> Self {
        let [images, count, height, width] = input.meta.shape().dims();
        let (positions, elements) = (height * width, images * height * width);
        let parts = BUSY_CUBES.div_ceil(count).min(elements.div_ceil(UNITS));
        Self { count, positions, elements, parts }
    }

    /// A launch of one cube for each part of each channel.
    fn cubes(self) -> (CubeCount, CubeDim) {
        (CubeCount::Static(self.count as u32, self.parts as u32, 1), CubeDim::new_1d(UNITS as u32))
    }
}

/// The partial sums `[parts, channels]` of the elements, or, given the means, of the squared
/// deviations from them.
fn sums<R: CubeRuntime>(
    input: &CubeTensor<R>,
    means: Option<&CubeTensor<R>>,
    channels: Channels,
) -> CubeTensor<R> {
    let sums = empty(input, Shape::new([channels.parts, channels.count]));
    let (count, dim) = channels.cubes();
    sums_kernel::launch::<R>(
        &input.client,
        count,
        dim,
        input.required_address_type(),
        input.clone().into_array_arg(),
        means.unwrap_or(input).clone().into_array_arg(),
        sums.clone().into_array_arg(),
        channels.count,
        channels.positions,
        channels.elements,
        channels.parts,
        means.is_some(),
        input.dtype.into(),
    );
    sums
}

/// The sums `[channels]` of partial sums `[parts, channels]`, times a factor.
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

/// The sums of a non-empty feature map over batch, rows and columns.
pub(super) fn channel_sums<R: CubeRuntime>(input: CubeTensor<R>) -> CubeTensor<R> {
    let input = into_contiguous(input);
    let channels = Channels::of(&input);
    totals(sums(&input, None, channels), 1.0, channels)
}

/// [`batch_norm`](crate::DenseBackend::batch_norm) of a non-empty feature map.
pub(super) fn batch_norm<R: CubeRuntime>(
    input: CubeTensor<R>,
    affine: [CubeTensor<R>; 2],
    epsilon: f64,
    relu: bool,
) -> BatchNormOutput<CubeTensor<R>> {
    let (input, [gamma, beta]) = (into_contiguous(input), affine.map(into_contiguous));
    let channels = Channels::of(&input);
    let inverse_count = 1.0 / channels.elements as f64;
    let mean = totals(sums(&input, None, channels), inverse_count, channels);
    let variance = totals(sums(&input, Some(&mean), channels), inverse_count, channels);
    let output = empty_like(&input);
    let (count, dim) = units(&input, elements(&input));
    let (client, dtype) = (input.client.clone(), input.dtype.into());
    batch_norm_kernel::launch::<R>(
        &client,
        count,
        dim,
        input.required_address_type(),
        input.into_array_arg(),
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
    BatchNormOutput { output, mean, variance }
}

/// [`batch_norm_backward`](crate::DenseBackend::batch_norm_backward) of a non-empty feature map,
/// given the gradient before the ReLU.
pub(super) fn batch_norm_backward<R: CubeRuntime>(
    input: CubeTensor<R>,
    gamma: CubeTensor<R>,
    statistics: [CubeTensor<R>; 2],
    grad: CubeTensor<R>,
    epsilon: f64,
) -> [CubeTensor<R>; 3] {
    let [input, grad, gamma] = [input, grad, gamma].map(into_contiguous);
    let [mean, variance] = statistics.map(into_contiguous);
    let channels = Channels::of(&input);
    let [sums, products] =
        [(); 2].map(|()| empty(&input, Shape::new([channels.parts, channels.count])));
    let (client, dtype) = (input.client.clone(), input.dtype.into());
    let (count, dim) = channels.cubes();
    gradient_sums_kernel::launch::<R>(
        &client,
        count,
        dim,
        input.required_address_type(),
        input.clone().into_array_arg(),
        grad.clone().into_array_arg(),
        mean.clone().into_array_arg(),
        sums.clone().into_array_arg(),
        products.clone().into_array_arg(),
        channels.count,
        channels.positions,
        channels.elements,
        channels.parts,
        dtype,
    );
    let [sums, products] = [sums, products].map(|sums| totals(sums, 1.0, channels));
    let (input_grad, gamma_grad) = (empty_like(&input), empty_like(&gamma));
    let (count, dim) = units(&input, elements(&input));
    batch_norm_grad_kernel::launch::<R>(
        &client,
        count,
        dim,
        input.required_address_type(),
        input.into_array_arg(),
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
        InputScalar::new(1.0 / channels.elements as f64, dtype),
        dtype,
    );
    [input_grad, gamma_grad, sums]
}

/// [`scale_and_shift`](crate::DenseBackend::scale_and_shift) of a non-empty feature map.
pub(super) fn scale_and_shift<R: CubeRuntime>(
    input: CubeTensor<R>,
    [scale, shift]: [CubeTensor<R>; 2],
    relu: bool,
) -> CubeTensor<R> {
    let [input, scale, shift] = [input, scale, shift].map(into_contiguous);
    let channels = Channels::of(&input);
    let output = empty_like(&input);
    let (count, dim) = units(&input, elements(&input));
    let (client, dtype) = (input.client.clone(), input.dtype.into());
    scale_kernel::launch::<R>(
        &client,
        count,
        dim,
        input.required_address_type(),
        input.into_array_arg(),
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
