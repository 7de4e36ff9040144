//! The convolution itself.

use lasnn_gemm::product::with_format;
use std::sync::OnceLock;

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::super::kept::Kept;
use super::super::norm::Statistics;
use super::padded::{Padded, Run};
use super::shape::{ConvShape, Reach};
use super::tile::{Correlate, block_outputs, channel_block, place_of_weight};
use lasnn_core::Precision;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, Job};

/// Every position count is rounded up to this, the longest vector there is.
const LANES: usize = 16;

/// Writes the convolution of the images `[batch, inputs, height, width]` with the weights
/// `[outputs, inputs, kernel, kernel]`, plus the bias `[outputs]`, to `output`
/// `[batch, outputs, output_height, output_width]`; negative values as zero if `relu`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
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
    let end = |number: usize, plane: &mut [f32], sums: Sums<'_>| {
        let bias = bias.map_or(0.0, |bias| bias[number % shape.outputs]);
        finish(plane, sums, bias, relu);
    };
    with_format(precision, Forward { shape, input, weights, end, output });
}

/// Writes the convolution without a bias, and returns the statistics of each channel.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub(crate) fn forward_with_statistics<N: Kept>(
    shape: ConvShape,
    precision: Precision,
    input: &[f32],
    weights: &[f32],
    output: &mut [N],
) -> Vec<Statistics> {
    shape.check(input.len(), weights.len(), output.len());
    let planes: Vec<_> = (0..shape.batch * shape.outputs).map(|_| OnceLock::new()).collect();
    let end = |number: usize, plane: &mut [N], sums: Sums<'_>| {
        finish(plane, sums, 0.0, false);
        // While it is in the nearest cache.
        planes[number].get_or_init(|| Statistics::of_plane(plane));
    };
    with_format(precision, Forward { shape, input, weights, end, output });
    let planes: Vec<Statistics> =
        planes.into_iter().map(|plane| plane.into_inner().unwrap_or_default()).collect();
    let channel = |channel| planes.iter().copied().skip(channel).step_by(shape.outputs);
    (0..shape.outputs).map(|number| Statistics::together(channel(number))).collect()
}

struct Forward<'a, N, E> {
    shape: ConvShape,
    input: &'a [f32],
    weights: &'a [f32],
    /// Writes a plane of the output, given its number.
    end: E,
    output: &'a mut [N],
}

/// The sums of a plane.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub sums: &'a [f32],
    /// From one row to the next.
    pub pitch: usize,
    /// Sums of a row.
    pub columns: usize,
}

impl<N: Kept, E: Fn(usize, &mut [N], Sums<'_>) + Sync> Job for Forward<'_, N, E> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { shape, input, weights, end, output } = self;
        let (padded, offsets) = layout(&shape);
        let runs = padded.runs();
        let taps = shape.taps();
        let packed = pack(format, shape.outputs, [shape.inputs, taps], |output, input, tap| {
            weights[(output * shape.inputs + input) * taps + tap]
        });

        let [rows, columns] = [shape.output_height(), shape.output_width()];
        let flat = ((rows - 1) * padded.pitch + columns).next_multiple_of(LANES);
        let per_job = images_per_job(shape.batch);
        let jobs = input
            .par_chunks(per_job * shape.image())
            .zip(output.par_chunks_mut(per_job * shape.output_image()));
        jobs.enumerate().for_each(|(job, (images, outputs))| {
            let mut maps = Maps::new(format, &padded, &runs, shape.inputs);
            let mut sums =
                Scratch::new(shape.outputs.next_multiple_of(block_outputs(format)) * flat);
            let images = images.chunks_exact(shape.image());
            let images = images.zip(outputs.chunks_exact_mut(shape.output_image()));
            for (number, (image, output)) in images.enumerate() {
                let first = (job * per_job + number) * shape.outputs;
                format.multiply(Correlate {
                    source: maps.fill(image),
                    channel_len: padded.len(),
                    offsets: &offsets,
                    weights: cast_slice(&packed),
                    channels: channels_together::<F>(shape.inputs),
                    positions: flat,
                    out: &mut sums,
                });
                let planes = output.chunks_exact_mut(rows * columns).zip(sums.chunks_exact(flat));
                for (number, (plane, sums)) in planes.enumerate() {
                    end(first + number, plane, Sums { sums, pitch: padded.pitch, columns });
                }
            }
        });
    }
}

/// Channels, as many together as a number holds, with those that fill them up.
pub(super) fn channels_together<F: Format>(channels: usize) -> usize {
    channels.div_ceil(F::HELD).next_multiple_of(channel_block::<F>())
}

/// The padded channels of one image after the other.
pub(super) struct Maps<'a, F> {
    format: F,
    padded: &'a Padded,
    runs: &'a [Run],
    buffer: Scratch,
    spare: Scratch,
}

impl<'a, F: Format> Maps<'a, F> {
    /// For images of so many channels.
    pub fn new(format: F, padded: &'a Padded, runs: &'a [Run], channels: usize) -> Self {
        // Padding stays zero.
        let buffer = padded.buffer(channels_together::<F>(channels));
        Self { format, padded, runs, buffer, spare: padded.spare() }
    }

    /// The channels of an image, as many together as a number holds.
    pub fn fill(&mut self, image: &[f32]) -> &[F::Number] {
        let Self { format, padded, runs, buffer, spare } = self;
        let plane = padded.source_len();
        let buffer: &mut [F::Number] = cast_slice_mut(buffer);
        let channels = buffer.chunks_exact_mut(padded.len());
        for (channel, planes) in channels.zip(image.chunks(F::HELD * plane)) {
            padded.fill(*format, runs, channel, planes.split_at(plane).into(), spare);
        }
        buffer
    }
}

/// So that every thread has a job or two; a job makes its own scratch memory.
pub(super) fn images_per_job(batch: usize) -> usize {
    batch.div_ceil(2 * rayon::current_num_threads()).max(1)
}

vectorised! {
    /// Writes sums as a plane.
    pub(super) fn finish<'a, N: Kept>(
        plane: &'a mut [N],
        sums: Sums<'a>,
        bias: f32,
        relu: bool,
    ) -> () {
        let Sums { sums, pitch, columns } = sums;
        for (row, sums) in plane.chunks_exact_mut(columns).zip(sums.chunks(pitch)) {
            for (value, &sum) in row.iter_mut().zip(sums) {
                let sum = sum + bias;
                // Not `max`: what is not a number must stay visible.
                *value = N::keep(if relu && sum < 0.0 { 0.0 } else { sum });
            }
        }
    }
}

vectorised! {
    /// Adds sums to a plane.
    pub(super) fn add_to<'a>(plane: &'a mut [f32], sums: Sums<'a>) -> () {
        let Sums { sums, pitch, columns } = sums;
        for (row, sums) in plane.chunks_exact_mut(columns).zip(sums.chunks(pitch)) {
            for (value, &sum) in row.iter_mut().zip(sums) {
                *value += sum;
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
/// up with zeros. `weight` is given an output, a channel and a tap.
pub(super) fn pack<F: Format>(
    format: F,
    outputs: usize,
    [channels, taps]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Scratch {
    let block = block_outputs(format);
    let depth = channels_together::<F>(channels) * taps;
    let mut packed = Scratch::zeros(outputs.next_multiple_of(block) * depth);
    let blocks = packed.par_chunks_exact_mut((block * depth).max(1));
    blocks.enumerate().for_each(|(first, packed)| {
        let packed: &mut [F::Number] = cast_slice_mut(packed);
        let outputs = first * block..outputs.min((first + 1) * block);
        for (place, output) in outputs.enumerate() {
            for (together, channel) in (0..channels).step_by(F::HELD).enumerate() {
                for tap in 0..taps {
                    let second = match channel + 1 < channels {
                        true => weight(output, channel + 1, tap),
                        false => 0.0,
                    };
                    packed[place_of_weight::<F>(block, taps, [place, together, tap])] =
                        format.number(weight(output, channel, tap), second);
                }
            }
        }
    });
    packed
}
