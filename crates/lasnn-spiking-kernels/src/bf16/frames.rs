//! Spike counts or gradients in bfloat16, as the rows of products.

use std::ops::Range;

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::GROUP;
use crate::event::list::Allowed;
use crate::event::simd::LANES;
use crate::graph::PoolAndMask;
use crate::spikes::Spikes;
use lasnn_core::mask::MaskRows;
use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{SIDE, bf16_to_f32};

/// A group of [`GROUP`] lanes at a position of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneGroup {
    pub position: usize,
    /// The index of the group: its first lane is `group * GROUP`.
    pub group: usize,
}

/// Numbers in bfloat16, `[position][group of channels][frame][channel of the group]`.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Two channels in a word.
    numbers: Scratch,
    pub positions: usize,
    pub groups: usize,
    /// Images times time steps.
    pub count: usize,
    /// `count`, rounded up to whole tiles. The numbers of the frames after `count` are unspecified.
    pub room: usize,
}

impl Frames {
    /// Frames whose numbers are still unspecified.
    pub fn new(positions: usize, channels: usize, count: usize) -> Self {
        let (groups, room) = (channels.div_ceil(GROUP), count.next_multiple_of(SIDE));
        let numbers = Scratch::new(positions * groups * room * SIDE);
        Self { numbers, positions, groups, count, room }
    }

    /// How often each channel of some images fires in each pooling window. `mask` has a row for
    /// each image of the batch.
    pub fn of(
        spikes: &Spikes,
        pooling: &PoolAndMask,
        mask: Option<MaskRows<'_>>,
        images: Range<usize>,
    ) -> Self {
        let pooled = pooling.shape(spikes.grid.shape);
        let mut frames =
            Self::new(pooled.positions(), pooled.channels, images.len() * spikes.steps);
        let (room, size) = (frames.room, frames.groups * frames.room * SIDE);
        let allowed = mask.map(|mask| Allowed::by_image(mask, images.clone(), pooled));
        let allowed = allowed.unwrap_or_default();
        let by_position = frames.numbers.par_chunks_exact_mut(size).enumerate();
        by_position.for_each(|(position, numbers)| {
            vectors().dispatch(CountPosition {
                spikes,
                pooling,
                allowed: &allowed,
                images: images.clone(),
                position,
                room,
                numbers: cast_slice_mut(numbers),
            });
        });
        frames
    }

    /// The frames of each group at each position, groups faster. A word is a pair of channels.
    pub fn groups_mut(&mut self) -> impl Iterator<Item = &mut [u32]> {
        cast_slice_mut(&mut self.numbers).chunks_exact_mut(self.room * SIDE)
    }

    /// Writes the numbers of a group as `f32`, `[frame][channel of the group]`; zeros for a group
    /// beyond the channels.
    pub fn read(&self, at: LaneGroup, to: &mut [f32]) {
        if at.group >= self.groups {
            return to.fill(0.0);
        }
        let numbers: &[u16] = cast_slice(&self.channel_pairs(at, 0)[..self.count * SIDE]);
        for (to, &number) in to.iter_mut().zip(numbers) {
            *to = bf16_to_f32(number);
        }
    }

    /// The numbers of a group from a frame on, `[frame][pair of channels]`.
    #[inline(always)]
    pub fn channel_pairs(&self, LaneGroup { position, group }: LaneGroup, frame: usize) -> &[u32] {
        let at = (position * self.groups + group) * self.room + frame;
        &cast_slice(&self.numbers)[at * SIDE..]
    }
}

/// Counts the spikes of all frames at one position.
struct CountPosition<'a> {
    spikes: &'a Spikes,
    pooling: &'a PoolAndMask,
    /// By image of the range.
    allowed: &'a [Allowed],
    images: Range<usize>,
    position: usize,
    room: usize,
    numbers: &'a mut [u16],
}

impl WithSimd for CountPosition<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { spikes, pooling, allowed, images, position, room, numbers } = self;
        let width = pooling.shape(spikes.grid.shape).width;
        let (row, column) =
            (position / width * pooling.pool[0], position % width * pooling.pool[1]);
        let first = row * spikes.grid.shape.width + column;
        let words = spikes.grid.words();
        // Two words of spikes make a group.
        for (index, frames) in numbers.chunks_exact_mut(room * GROUP).enumerate() {
            for half in 0..GROUP / LANES {
                let word = index * (GROUP / LANES) + half;
                let (tile, of_tile) = (word / words, word % words);
                let frames = frames.as_chunks_mut::<LANES>().0.iter_mut().skip(half).step_by(2);
                if tile >= spikes.grid.tiles() {
                    frames.for_each(|frame| *frame = [0; LANES]);
                    continue;
                }
                let start = spikes.at(tile, images.start, 0, first) + of_tile;
                for (number, frame) in frames.take(images.len() * spikes.steps).enumerate() {
                    let at = start + number * spikes.grid.shape.positions() * words;
                    let allowed = match allowed {
                        [] => u16::MAX,
                        all => all[number / spikes.steps].word(position, word),
                    };
                    *frame = counts(spikes, pooling, at, allowed);
                }
            }
        }
    }
}

/// How often 16 channels fire in a pooling window, as bfloat16. The word `at` is the first of the
/// window.
#[inline(always)]
fn counts(spikes: &Spikes, pooling: &PoolAndMask, at: usize, allowed: u16) -> [u16; LANES] {
    if pooling.pool == [1, 1] {
        return ones(spikes.words[at] & allowed);
    }
    let (width, words) = (spikes.grid.shape.width, spikes.grid.words());
    let mut sums = [0; LANES];
    for row in 0..pooling.pool[0] {
        for column in 0..pooling.pool[1] {
            let word = spikes.words[at + (row * width + column) * words] & allowed;
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += word >> lane & 1;
            }
        }
    }
    to_bfloat16(&mut sums);
    sums
}

/// Replaces integers by the same numbers in bfloat16.
///
/// A loop in place of `array::map`, which the compiler does not inline for so many numbers.
#[inline(always)]
pub(crate) fn to_bfloat16(numbers: &mut [u16]) {
    for number in numbers {
        *number = (f32::from(*number).to_bits() >> 16) as u16;
    }
}

/// 1 in bfloat16.
pub(crate) const ONE: u16 = 0x3f80;

/// 1 for each bit that is set, 0 for the others.
#[inline(always)]
fn ones(word: u16) -> [u16; LANES] {
    std::array::from_fn(|lane| if word & 1 << lane != 0 { ONE } else { 0 })
}
