//! The gradient of a convolution's weights as products of matrices that share the sum.
//!
//! The gradient has few numbers, each a long sum over images and positions, and a kernel that gives each
//! block of numbers to one multiprocessor leaves most of them idle. So images are dealt out to parts,
//! each part is a matrix product of its own, all of them run at once, and the parts are added up:
//!
//! ```text
//! dW[o, (c, i, j)] = Σ_part Σ_(image, position) in part  dy[o, (image, position)] · x[(c, i, j), (image, position)]
//! ```
//!
//! Both factors are written out for that, the input once for each place in the kernel's window. How many
//! parts there are follows from shapes alone, so the order of a sum does not depend on the device.

use burn::tensor::Shape;
use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{empty, units};
use crate::backend::Convolution;

/// The most numbers that the input is written out to at a time: 256 MiB of `f32`.
const UNFOLDED: usize = 1 << 26;

/// Numbers of all parts together that keep every multiprocessor busy: 256 blocks of 128 by 128.
const BUSY: usize = 1 << 22;

/// How a window moves over a map.
#[derive(Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// The images `start..end`, of which each part has `images`; the last part may have fewer.
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

/// The groups of images that are written out one after another, each in its parts.
fn groups(images: usize, unfolded_image: usize, outputs: usize) -> Vec<Parts> {
    let group = (UNFOLDED / unfolded_image).clamp(1, images.max(1));
    let starts = (0..images).step_by(group);
    starts
        .map(|start| {
            let end = images.min(start + group);
            let parts = BUSY.div_ceil(outputs).min(end - start);
            Parts { start, end, images: (end - start).div_ceil(parts) }
        })
        .collect()
}

/// One unit writes a position of one channel of one image for all places in the window:
/// `columns[part, (channel, row, column), (image, position)]`, with zeros for what lies outside of the
/// map and for images that a part does not have.
#[cube(launch, address_type = "dynamic")]
fn unfold_kernel<F: Float>(
    map: &Array<F>,
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
                value = map[plane + (y - padding) * width + (x - padding)];
            }
            columns[first + (i * kernel + j) * row_length] = value;
        }
    }
}

/// `[parts, channels · kernel · kernel, images of a part · output positions]` of a map
/// `[images, channels, height, width]` that lies row by row.
fn unfold<R: CubeRuntime>(
    map: &CubeTensor<R>,
    parts: Parts,
    window: Window,
    out: [usize; 2],
) -> CubeTensor<R> {
    let [_, channels, height, width] = map.meta.shape().dims();
    let Window { kernel, stride, padding } = window;
    let [out_height, out_width] = out;
    let length = parts.images * out_height * out_width;
    let columns = empty(map, Shape::new([parts.count(), channels * kernel * kernel, length]));
    let total = parts.count() * channels * length;
    let (count, dim) = units(map, total);
    unfold_kernel::launch::<R>(
        &map.client,
        count,
        dim,
        columns.required_address_type().max(map.required_address_type()),
        map.clone().into_array_arg(),
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
        map.dtype.into(),
    );
    columns
}

/// The gradient `[outputs, inputs, kernel, kernel]` of a convolution's weights, if there is an image.
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
    let sums =
        groups(images, row * out_height * out_width, outputs * row).into_iter().map(|parts| {
            let grads = unfold(&output_grad, parts, point, out);
            let columns = B::float_swap_dims(unfold(&input, parts, window, out), 1, 2);
            B::float_sum_dim(B::float_matmul(grads, columns), 0)
        });
    let sum = sums.reduce(B::float_add)?;
    Some(B::float_reshape(sum, Shape::new(weights)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every image is in one part, parts are as large as each other but for the last, and none is empty.
    #[test]
    fn every_image_is_in_one_part() {
        for (images, unfolded, outputs) in [
            (1, 27 * 1024, 27 * 64),
            (64, 27 * 1024, 27 * 64),
            (512, 1152 * 256, 1152 * 128),
            (47, 1152 * 256, 1152 * 128),
            (33, UNFOLDED * 2, 10),
            (100, 4608 * 16, 4608 * 512),
        ] {
            let mut next = 0;
            for parts in groups(images, unfolded, outputs) {
                assert_eq!(parts.start, next);
                assert!(parts.count() > 0 && (parts.count() - 1) * parts.images < parts.end - next);
                assert!(parts.count() * parts.images * unfolded <= UNFOLDED.max(unfolded) * 2);
                next = parts.end;
            }
            assert_eq!(next, images);
        }
    }
}
