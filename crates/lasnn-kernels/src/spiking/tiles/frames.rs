//! Spikes as numbers.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::circuit::{Shape, View};
use super::super::events::Allowed;
use super::super::simd::LANES;
use super::super::spikes::Spikes;
use super::GROUP;
use crate::memory::Scratch;
use crate::product::SIDE;

/// Spikes behind a view as numbers, `[image][step][group][padded position][channel of the group]`: so
/// all that a kernel's window multiplies of a group lies together, in the first-level cache.
#[derive(Debug)]
pub(in crate::spiking) struct Frames {
    /// Pairs.
    numbers: Scratch,
    /// Positions of a padded row, and of a padded map.
    pub width: usize,
    pub positions: usize,
    /// From a frame to the next one, in pairs.
    pub pitch: usize,
    pub steps: usize,
    /// Images times steps.
    pub count: usize,
}

impl Frames {
    /// For a convolution: with zeros around the maps.
    pub fn of_maps(
        spikes: &Spikes,
        view: &View,
        mask: Option<&[f32]>,
        [kernel, stride]: [usize; 2],
    ) -> Self {
        // Tiles may reach that far beyond the last position.
        Self::new(spikes, view, mask, kernel / 2, |_| (0, SIDE * stride * SIDE))
    }

    /// For a matrix: each frame is a row.
    pub fn of_rows(spikes: &Spikes, view: &View, mask: Option<&[f32]>) -> Self {
        let count = spikes.batch * spikes.steps;
        let missing = count.next_multiple_of(SIDE) - count;
        // Rows at a power of two from each other would push each other out of the cache.
        Self::new(spikes, view, mask, 0, |row| (SIDE, missing * (row + SIDE)))
    }

    /// `room` says how many pairs to leave between frames and behind the last one, given those of one.
    fn new(
        spikes: &Spikes,
        view: &View,
        mask: Option<&[f32]>,
        border: usize,
        room: impl Fn(usize) -> (usize, usize),
    ) -> Self {
        let shape = view.shape(spikes.grid.shape);
        let width = shape.width + 2 * border;
        let positions = (shape.height + 2 * border) * width;
        let size = shape.channels.div_ceil(GROUP) * positions * SIDE;
        let (between, behind) = room(size);
        let pitch = size + between;
        let (steps, count) = (spikes.steps, spikes.batch * spikes.steps);
        // What is behind the last frame, and between them, meets no weight or is not looked at.
        let mut numbers = Scratch::new(count * pitch + behind);
        let allowed: Vec<Allowed> = mask.map_or_else(Vec::new, |mask| {
            mask.chunks_exact(shape.neurons()).map(|mask| Allowed::of(mask, shape)).collect()
        });
        let frames = numbers.par_chunks_exact_mut(pitch).take(count).enumerate();
        frames.for_each(|(frame, numbers)| {
            Arch::new().dispatch(Expand {
                spikes,
                view,
                allowed: allowed.get(frame / steps),
                frame: (frame / steps, frame % steps),
                border,
                positions,
                numbers: cast_slice_mut(&mut numbers[..size]),
            });
        });
        Self { numbers, width, positions, pitch, steps, count }
    }

    /// All numbers, as pairs.
    pub fn pairs(&self) -> &[u32] {
        cast_slice(&self.numbers)
    }
}

/// One frame, all of it written.
struct Expand<'a> {
    spikes: &'a Spikes,
    view: &'a View,
    allowed: Option<&'a Allowed>,
    /// Image and step.
    frame: (usize, usize),
    border: usize,
    /// Of a padded map.
    positions: usize,
    numbers: &'a mut [u16],
}

impl WithSimd for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { spikes, view, allowed, frame: (image, step), border, positions, numbers } = self;
        let Shape { height, width, .. } = view.shape(spikes.grid.shape);
        let [rows, columns] = view.pool;
        let words = spikes.grid.words();
        let padded = width + 2 * border;
        // Two words of channels make a group.
        let groups = numbers.chunks_exact_mut(positions * GROUP);
        for (group, numbers) in groups.enumerate() {
            let (places, _) = numbers.as_chunks_mut::<GROUP>();
            for (row, places) in places.chunks_exact_mut(padded).enumerate() {
                let row = row.wrapping_sub(border);
                if row >= height {
                    places.fill([0; GROUP]);
                    continue;
                }
                places[..border].fill([0; GROUP]);
                places[border + width..].fill([0; GROUP]);
                let places = &mut places[border..border + width];
                for half in 0..GROUP / LANES {
                    let word = group * (GROUP / LANES) + half;
                    let (tile, of_tile) = (word / words, word % words);
                    let halves = places.iter_mut().map(|place| &mut place.as_chunks_mut().0[half]);
                    if tile >= spikes.grid.tiles() {
                        halves.for_each(|half| *half = [0; LANES]);
                        continue;
                    }
                    let first = row * rows * spikes.grid.shape.width;
                    let at = spikes.at(tile, image, step, first) + of_tile;
                    for (column, half) in halves.enumerate() {
                        let allowed = allowed
                            .map_or(u16::MAX, |allowed| allowed.word(row * width + column, word));
                        *half = counts(spikes, view, at + column * columns * words, allowed);
                    }
                }
            }
        }
    }
}

/// How often 16 channels fire in a window of a view whose first word is given, as bfloat16.
#[inline(always)]
pub(super) fn counts(spikes: &Spikes, view: &View, at: usize, allowed: u16) -> [u16; LANES] {
    if view.pool == [1, 1] {
        return ones(spikes.words[at] & allowed);
    }
    let (width, words) = (spikes.grid.shape.width, spikes.grid.words());
    let mut sums = [0; LANES];
    for row in 0..view.pool[0] {
        for column in 0..view.pool[1] {
            let word = spikes.words[at + (row * width + column) * words] & allowed;
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += word >> lane & 1;
            }
        }
    }
    sums.map(|sum| (f32::from(sum).to_bits() >> 16) as u16)
}

/// 1 as bfloat16.
pub(super) const ONE: u16 = 0x3f80;

/// A 1 for each bit.
#[inline(always)]
fn ones(word: u16) -> [u16; LANES] {
    std::array::from_fn(|lane| if word & 1 << lane != 0 { ONE } else { 0 })
}
