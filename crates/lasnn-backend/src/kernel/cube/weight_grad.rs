//! The weight gradient of a convolution as a batch of matrix products.
//!
//! The weight gradient has few elements, and each is a long sum over images and positions. A kernel
//! that computes each block of elements on one multiprocessor leaves most multiprocessors idle.
//! Here the images are divided into parts. Each part is one matrix product, all products run at
//! once, and their results are added up:
//!
//! ```text
//! dW[o, (c, i, j)] = Σ_part Σ_k dy[o, k] · x[(c, i, j), k]
//! ```
//!
//! where `k` counts the images of a part and their output positions. Both factors are unfolded into
//! matrices for this (`im2col`). The number of parts follows from the shapes alone, so the order of
//! a sum does not depend on the device.

use burn::tensor::Shape;
use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty, units};
use crate::backend::Convolution;

/// The maximum number of unfolded elements of the input at a time: 256 MiB of `f32`.
const MAX_UNFOLDED: usize = 1 << 26;

/// The number of output elements of all parts that keeps every multiprocessor busy: 256 blocks of
/// 128 × 128.
const BUSY_OUTPUTS: usize = 1 << 22;

/// The window of a convolution.
#[derive(Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// The images `start..end`, divided into parts of `images` each; the last part may have fewer.
#[derive(Clone, Copy)]
struct Parts {
    start: usize,
    end: usize,
    images: usize,
}

impl Parts {
    fn count(self) -> usize {
        (self.end - self.start).div_ceil(self.images)
    }
}

/// The groups of images that are unfolded one after another, each divided into parts.
fn groups(images: usize, unfolded_image: usize, outputs: usize) -> Vec<Parts> {
    let group = (MAX_UNFOLDED / unfolded_image).clamp(1, images.max(1));
    let starts = (0..images).step_by(group);
    starts
        .map(|start| {
            let end = images.min(start + group);
            let parts = BUSY_OUTPUTS.div_ceil(outputs).min(end - start);
            Parts { start, end, images: (end - start).div_ceil(parts) }
        })
        .collect()
}

/// One unit writes one position of one channel of one image, for every offset in the window:
/// `columns[part, (channel, row, column), (image, position)]`. Elements outside the feature map and
/// elements of images that the last part lacks are zero.
#[cube(launch, address_type = "dynamic")]
fn unfold_kernel<F: Float>(
    input: &Array<F>,
    columns: &mut Array<F>,
    start: usize,
    end: usize,
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
    total: usize,
    #[comptime] kernel: usize,
    #[comptime] stride: usize,
    #[comptime] padding: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= total {
        terminate!();
    }
    let positions = out_height * out_width;
    let position = ABSOLUTE_POS % positions;
    let rest = ABSOLUTE_POS / positions;
    let image = rest % images;
    let rest = rest / images;
    let channel = rest % channels;
    let part = rest / channels;

    let source = start + part * images + image;
    let plane = (source * channels + channel) * height * width;
    let top = position / out_width * stride;
    let left = position % out_width * stride;
    let row_length = images * positions;
    let first =
        (part * channels + channel) * (kernel * kernel) * row_length + image * positions + position;
    #[unroll]
    for i in 0..kernel {
        #[unroll]
        for j in 0..kernel {
            let y = top + i;
            let x = left + j;
            let inside = source < end
                && y >= padding
                && y < height + padding
                && x >= padding
                && x < width + padding;
            let mut value = F::new(0.0);
            if inside {
                value = input[plane + (y - padding) * width + (x - padding)];
            }
            columns[first + (i * kernel + j) * row_length] = value;
        }
    }
}

/// Unfolds a contiguous feature map `[images, channels, height, width]` to
/// `[parts, channels · kernel · kernel, images of a part · output positions]`.
fn unfold<R: CubeRuntime>(
    input: &CubeTensor<R>,
    parts: Parts,
    window: Window,
    out: [usize; 2],
) -> CubeTensor<R> {
    let [_, channels, height, width] = input.meta.shape().dims();
    let Window { kernel, stride, padding } = window;
    let [out_height, out_width] = out;
    let length = parts.images * out_height * out_width;
    let columns = empty(input, Shape::new([parts.count(), channels * kernel * kernel, length]));
    let total = parts.count() * channels * length;
    let (count, dim) = units(input, total);
    unfold_kernel::launch::<R>(
        &input.client,
        count,
        dim,
        columns.required_address_type().max(input.required_address_type()),
        input.clone().into_array_arg(),
        columns.clone().into_array_arg(),
        parts.start,
        parts.end,
        parts.images,
        channels,
        height,
        width,
        out_height,
        out_width,
        total,
        kernel,
        stride,
        padding,
        input.dtype.into(),
    );
    columns
}

/// The weight gradient `[outputs, inputs, kernel, kernel]`; `None` if the batch is empty.
pub(super) fn weight_grad<R: CubeRuntime, B: Backend<FloatTensorPrimitive = CubeTensor<R>>>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    weights: [usize; 4],
    convolution: Convolution,
) -> Option<CubeTensor<R>> {
    let [outputs, inputs, kernel, _] = weights;
    let [images, _, out_height, out_width] = output_grad.meta.shape().dims();
    let (row, out) = (inputs * kernel * kernel, [out_height, out_width]);
    let window = Window { kernel, stride: convolution.stride, padding: convolution.padding };
    let point = Window { kernel: 1, stride: 1, padding: 0 };
    let (input, output_grad) = (into_contiguous(input), into_contiguous(output_grad));
    let products =
        groups(images, row * out_height * out_width, outputs * row).into_iter().map(|parts| {
            let grads = unfold(&output_grad, parts, point, out);
            let columns = B::float_swap_dims(unfold(&input, parts, window, out), 1, 2);
            B::float_sum_dim(B::float_matmul(grads, columns), 0)
        });
    let sum = products.reduce(B::float_add)?;
    Some(B::float_reshape(sum, Shape::new(weights)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every image is in exactly one part, all parts but the last have the same size, and none is
    /// empty.
    #[test]
    fn every_image_is_in_exactly_one_part() {
        for (images, unfolded, outputs) in [
            (1, 27 * 1024, 27 * 64),
            (64, 27 * 1024, 27 * 64),
            (512, 1152 * 256, 1152 * 128),
            (47, 1152 * 256, 1152 * 128),
            (33, MAX_UNFOLDED * 2, 10),
            (100, 4608 * 16, 4608 * 512),
        ] {
            let mut next = 0;
            for parts in groups(images, unfolded, outputs) {
                assert_eq!(parts.start, next);
                assert!(parts.count() > 0 && (parts.count() - 1) * parts.images < parts.end - next);
                assert!(parts.count() * parts.images * unfolded <= MAX_UNFOLDED.max(unfolded) * 2);
                next = parts.end;
            }
            assert_eq!(next, images);
        }
    }
}
