//! Operands of a convolution in the layout of [`Correlate`](super::tile::Correlate).

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::padded::{Padded, PhaseRows};
use super::shape::{ConvShape, Reach};
use super::tile::{block_outputs, channel_multiple, weight_index};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::Format;

/// The number of elements that `channels` channels are packed into at each position, with padding.
pub(super) fn packed_channels<F: Format>(channels: usize) -> usize {
    channels.div_ceil(F::PACKED).next_multiple_of(channel_multiple::<F>())
}

/// How many images a job computes, so that every thread has about two jobs. A job allocates scratch
/// memory once.
pub(super) fn images_per_job(batch: usize) -> usize {
    batch.div_ceil(2 * rayon::current_num_threads()).max(1)
}

/// Memory for the padded channels of one image, which is filled for one image after the other.
pub(super) struct PaddedImages<'a, F> {
    format: F,
    padded: &'a Padded,
    rows_by_phase: &'a [PhaseRows],
    channels: Scratch,
    buffer: Scratch,
}

impl<'a, F: Format> PaddedImages<'a, F> {
    /// Memory for images of `channels` channels.
    pub fn new(
        format: F,
        padded: &'a Padded,
        rows_by_phase: &'a [PhaseRows],
        channels: usize,
    ) -> Self {
        // Images do not write to the padding, which stays zero.
        let channels = padded.zeros(packed_channels::<F>(channels));
        Self { format, padded, rows_by_phase, channels, buffer: padded.buffer() }
    }

    /// Packs the channels of an image.
    pub fn fill(&mut self, image: &[f32]) -> &[F::Element] {
        let Self { format, padded, rows_by_phase, channels, buffer } = self;
        let plane = padded.source_len();
        let elements: &mut [F::Element] = cast_slice_mut(channels);
        let channels = elements.chunks_exact_mut(padded.len());
        for (channel, planes) in channels.zip(image.chunks(F::PACKED * plane)) {
            padded.fill(*format, rows_by_phase, channel, planes.split_at(plane).into(), buffer);
        }
        elements
    }
}

/// The layout of the input of a convolution, and the offset at which each tap reads it.
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

/// Packs weights in blocks of outputs. The last block is padded with zeros.
///
/// `weight` returns the weight of an output, a channel and a tap.
pub(super) fn pack_weights<F: Format>(
    format: F,
    outputs: usize,
    [channels, taps]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Scratch {
    let block = block_outputs(format);
    let depth = packed_channels::<F>(channels) * taps;
    let mut packed = Scratch::zeros(outputs.next_multiple_of(block) * depth);
    let blocks = packed.par_chunks_exact_mut((block * depth).max(1));
    blocks.enumerate().for_each(|(first, packed)| {
        let packed: &mut [F::Element] = cast_slice_mut(packed);
        let outputs = first * block..outputs.min((first + 1) * block);
        for (index, output) in outputs.enumerate() {
            for (element, channel) in (0..channels).step_by(F::PACKED).enumerate() {
                for tap in 0..taps {
                    let second = match channel + 1 < channels {
                        true => weight(output, channel + 1, tap),
                        false => 0.0,
                    };
                    packed[weight_index::<F>(block, taps, [index, element, tap])] =
                        format.pack(weight(output, channel, tap), second);
                }
            }
        }
    });
    packed
}
