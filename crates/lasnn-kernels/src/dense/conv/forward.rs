//! The convolution itself.

use rayon::prelude::*;

use super::super::simd::vectorised;
use super::padded::Padded;
use super::shape::{ConvShape, Reach};
use super::tile::{Correlate, block_outputs};
use crate::memory::Scratch;

/// Every position count is rounded up to this, the longest vector there is.
const LANES: usize = 16;

/// Writes the convolution of the images `[batch, inputs, height, width]` with the weights
/// `[outputs, inputs, kernel, kernel]`, plus the bias `[outputs]`, to `output`
/// `[batch, outputs, output_height, output_width]`; negative values as zero if `rectify`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn forward(
    shape: ConvShape,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    rectify: bool,
    output: &mut [f32],
) {
    shape.check(input.len(), weights.len(), output.len());
    let (padded, offsets) = layout(&shape);
    let runs = padded.runs();
    let packed = pack(shape.outputs, shape.inputs * shape.taps(), |output, depth| {
        weights[output * shape.inputs * shape.taps() + depth]
    });

    let [rows, columns] = [shape.output_height(), shape.output_width()];
    let flat = ((rows - 1) * padded.pitch + columns).next_multiple_of(LANES);
    let per_job = images_per_job(shape.batch);
    let jobs = input
        .par_chunks(per_job * shape.image())
        .zip(output.par_chunks_mut(per_job * shape.output_image()));
    jobs.for_each(|(images, outputs)| {
        let mut buffer = padded.buffer(shape.inputs);
        let mut sums = Scratch::new(shape.outputs.next_multiple_of(block_outputs()) * flat);
        let images = images.chunks_exact(shape.image());
        for (image, output) in images.zip(outputs.chunks_exact_mut(shape.output_image())) {
            let planes = image.chunks_exact(shape.height * shape.width);
            for (plane, channel) in planes.zip(buffer.chunks_mut(padded.len())) {
                padded.fill(&runs, channel, plane);
            }
            let correlate = Correlate {
                source: &buffer,
                channel_len: padded.len(),
                offsets: &offsets,
                weights: &packed,
                channels: shape.inputs,
                positions: flat,
                out: &mut sums,
            };
            correlate.run();
            let planes = output.chunks_exact_mut(rows * columns).zip(sums.chunks_exact(flat));
            for (number, (plane, sums)) in planes.enumerate() {
                let bias = bias.map_or(0.0, |bias| bias[number]);
                finish(plane, columns, sums, padded.pitch, bias, rectify);
            }
        }
    });
}

/// So that every thread has a job or two; a job makes its own scratch memory.
pub(super) fn images_per_job(batch: usize) -> usize {
    batch.div_ceil(2 * rayon::current_num_threads()).max(1)
}

vectorised! {
    /// Writes sums in rows of `pitch` as rows of `columns`.
    fn finish<'a>(
        plane: &'a mut [f32],
        columns: usize,
        sums: &'a [f32],
        pitch: usize,
        bias: f32,
        rectify: bool,
    ) -> () {
        for (row, sums) in plane.chunks_exact_mut(columns).zip(sums.chunks(pitch)) {
            for (value, &sum) in row.iter_mut().zip(sums) {
                let sum = sum + bias;
                // Not `max`: what is not a number must stay visible.
                *value = if rectify && sum < 0.0 { 0.0 } else { sum };
            }
        }
    }
}

/// How the input is laid out, and where each tap reads it.
pub(super) fn layout(shape: &ConvShape) -> (Padded, Vec<usize>) {
    let reach: Vec<_> = (0..shape.kernel).map(|tap| shape.reach(tap)).collect();
    let taps = || reach.iter().flat_map(|&down| reach.iter().map(move |&right| (down, right)));
    let mut phases: Vec<[usize; 2]> =
        taps().map(|(down, right)| [down.phase, right.phase]).collect();
    phases.sort_unstable();
    phases.dedup();
    let positions = [shape.output_height(), shape.output_width()];
    let source = [shape.height, shape.width];
    let padded = Padded::new(source, shape.stride, phases, shape.shifts(), positions);
    let offset = |(down, right): (Reach, Reach)| {
        padded.offset([down.phase, right.phase], [down.shift, right.shift])
    };
    let offsets = taps().map(offset).collect();
    (padded, offsets)
}

/// Weights in the order in which [`Correlate`] takes them: blocks of outputs, the last one filled
/// up with zeros.
pub(super) fn pack(outputs: usize, depth: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let block = block_outputs();
    let mut packed = vec![0.0; outputs.next_multiple_of(block) * depth];
    for (first, packed) in packed.chunks_exact_mut((block * depth).max(1)).enumerate() {
        let outputs = first * block..outputs.min((first + 1) * block);
        for (place, output) in outputs.enumerate() {
            for index in 0..depth {
                packed[index * block + place] = weight(output, index);
            }
        }
    }
    packed
}
