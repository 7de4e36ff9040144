//! The forward pass of a convolution.

use std::sync::OnceLock;

use pulp::bytemuck::cast_slice;
use rayon::prelude::*;

use super::pack::{PaddedImages, images_per_job, layout, pack_weights, packed_channels};
use super::shape::ConvShape;
use super::sums::{Sums, write_sums};
use super::tile::{Correlate, block_outputs};
use crate::norm::Statistics;
use crate::stored_float::StoredFloat;
use lasnn_core::Precision;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, FormatTask, with_format};

/// The number of positions is padded to a multiple of this, the lanes of the longest vectors.
const LANES: usize = 16;

/// Writes the convolution of `input` with `weights`, plus `bias`, to `output`. If `relu`, negative
/// values become zero.
///
/// - `input`: `[batch, inputs, height, width]`
/// - `weights`: `[outputs, inputs, kernel, kernel]`
/// - `bias`: `[outputs]`
/// - `output`: `[batch, outputs, output_height, output_width]`
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn forward(
    shape: ConvShape,
    precision: Precision,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
    output: &mut [f32],
) {
    shape.check(input.len(), weights.len(), output.len());
    let write_plane = |number: usize, plane: &mut [f32], sums: Sums<'_>| {
        let bias = bias.map_or(0.0, |bias| bias[number % shape.outputs]);
        write_sums(plane, sums, bias, relu);
    };
    with_format(precision, Forward { shape, input, weights, write_plane, output });
}

/// Writes the convolution without bias, and returns the statistics of each output channel.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub(crate) fn forward_with_statistics<N: StoredFloat>(
    shape: ConvShape,
    precision: Precision,
    input: &[f32],
    weights: &[f32],
    output: &mut [N],
) -> Vec<Statistics> {
    shape.check(input.len(), weights.len(), output.len());
    let planes: Vec<_> = (0..shape.batch * shape.outputs).map(|_| OnceLock::new()).collect();
    let write_plane = |number: usize, plane: &mut [N], sums: Sums<'_>| {
        write_sums(plane, sums, 0.0, false);
        // The plane is still in the first-level cache.
        planes[number].get_or_init(|| Statistics::of_plane(plane));
    };
    with_format(precision, Forward { shape, input, weights, write_plane, output });
    let planes: Vec<Statistics> =
        planes.into_iter().map(|plane| plane.into_inner().unwrap_or_default()).collect();
    let channel = |channel| planes.iter().copied().skip(channel).step_by(shape.outputs);
    (0..shape.outputs).map(|number| Statistics::merge(channel(number))).collect()
}

struct Forward<'a, N, W> {
    shape: ConvShape,
    input: &'a [f32],
    weights: &'a [f32],
    /// Writes one plane of the output. The arguments are its number, the plane and its sums.
    write_plane: W,
    output: &'a mut [N],
}

impl<N: StoredFloat, W: Fn(usize, &mut [N], Sums<'_>) + Sync> FormatTask for Forward<'_, N, W> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { shape, input, weights, write_plane, output } = self;
        let (padded, offsets) = layout(&shape);
        let rows_by_phase = padded.rows_by_phase();
        let taps = shape.taps();
        let packed =
            pack_weights(format, shape.outputs, [shape.inputs, taps], |output, input, tap| {
                weights[(output * shape.inputs + input) * taps + tap]
            });

        let [rows, columns] = [shape.output_height(), shape.output_width()];
        let flat = ((rows - 1) * padded.pitch + columns).next_multiple_of(LANES);
        let per_job = images_per_job(shape.batch);
        let jobs = input
            .par_chunks(per_job * shape.image())
            .zip(output.par_chunks_mut(per_job * shape.output_image()));
        jobs.enumerate().for_each(|(job, (images, outputs))| {
            let mut padded_images =
                PaddedImages::new(format, &padded, &rows_by_phase, shape.inputs);
            let mut sums =
                Scratch::new(shape.outputs.next_multiple_of(block_outputs(format)) * flat);
            let images = images.chunks_exact(shape.image());
            let images = images.zip(outputs.chunks_exact_mut(shape.output_image()));
            for (number, (image, output)) in images.enumerate() {
                let first = (job * per_job + number) * shape.outputs;
                format.multiply(Correlate {
                    source: padded_images.fill(image),
                    channel_len: padded.len(),
                    offsets: &offsets,
                    weights: cast_slice(&packed),
                    channels: packed_channels::<F>(shape.inputs),
                    positions: flat,
                    out: &mut sums,
                });
                let planes = output.chunks_exact_mut(rows * columns).zip(sums.chunks_exact(flat));
                for (number, (plane, sums)) in planes.enumerate() {
                    write_plane(first + number, plane, Sums { sums, pitch: padded.pitch, columns });
                }
            }
        });
    }
}
