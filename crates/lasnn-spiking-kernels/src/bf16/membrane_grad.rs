//! Membrane gradients of a layer on maps in bfloat16, in the two orders that products read.
//!
//! Input gradients take frames as rows, weight gradients take pairs of frames as depth.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::frames::LaneGroup;
use super::{FRAMES, Frames, GROUP};
use crate::event::simd::LANES;
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::Padded;
use crate::spikes::Grid;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, FormatTask, SIDE, bf16_to_f32, with_tile_format};

/// The membrane gradients of some images at all time steps.
#[derive(Debug)]
pub(crate) struct RoundedMembraneGrad {
    pub grid: Grid,
    pub images: usize,
    pub steps: usize,
    /// Lanes are the channels of these frames.
    pub rows: Frames,
    /// `[position][group][pair of frames][lane of the group]`, with zeros after the last frame.
    frame_pairs: Scratch,
}

impl RoundedMembraneGrad {
    /// Gradients that are still unspecified.
    pub fn new(grid: Grid, images: usize, steps: usize) -> Self {
        let (positions, frames) = (grid.shape.positions(), images * steps);
        let rows = Frames::new(positions, grid.lanes(), frames);
        let frame_pairs = Scratch::new(positions * rows.groups * padded_pairs(frames) * GROUP);
        Self { grid, images, steps, rows, frame_pairs }
    }

    /// Frames that [`LaneGroupMut::write`] takes.
    pub fn room(&self) -> usize {
        self.rows.count.next_multiple_of(FRAMES)
    }

    /// The gradients of each group at each position, groups faster.
    pub(super) fn lane_groups_mut(&mut self) -> impl Iterator<Item = LaneGroupMut<'_>> {
        let size = padded_pairs(self.rows.count) * GROUP;
        let frame_pairs = cast_slice_mut(&mut self.frame_pairs).chunks_exact_mut(size);
        self.rows
            .groups_mut()
            .zip(frame_pairs)
            .map(|(rows, frame_pairs)| LaneGroupMut { rows, frame_pairs })
    }

    /// The pairs of frames at a position, from the first lane of a block on. A block has [`SIDE`]
    /// lanes, and a pair of frames takes [`GROUP`] words.
    #[inline(always)]
    pub fn frame_pairs(&self, position: usize, block: usize) -> &[u32] {
        let (group, lane) = (block * SIDE / GROUP, block * SIDE % GROUP);
        let at = (position * self.rows.groups + group) * padded_pairs(self.rows.count) * GROUP;
        &cast_slice(&self.frame_pairs)[at + lane..]
    }

    /// Rounds gradients.
    pub fn rounded(exact: &MembraneGrad) -> Self {
        with_tile_format(Round(exact))
    }

    /// The same numbers as `f32`, in maps with a border of zeros.
    pub fn spread(&self, padded: Padded) -> MembraneGrad {
        let Self { grid, images, steps, .. } = *self;
        let size = steps * padded.positions() * grid.tile;
        let mut gradient = Scratch::new(grid.tiles() * images * size);
        gradient.par_chunks_mut(size).enumerate().for_each(|(index, to)| {
            padded.clear_border(grid.tile, to);
            let (tile, image) = (index / images, index % images);
            for (step, to) in to.chunks_exact_mut(padded.positions() * grid.tile).enumerate() {
                for position in 0..grid.shape.positions() {
                    let to = &mut to[padded.place(position) * grid.tile..][..grid.tile];
                    for (block, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                        let lane = tile * grid.tile + block * LANES;
                        let at = LaneGroup { position, group: lane / GROUP };
                        let from = self.rows.channel_pairs(at, image * steps + step);
                        widen(&cast_slice(from)[lane % GROUP..][..LANES], to);
                    }
                }
            }
        });
        MembraneGrad { grid, padded, images, steps, gradient }
    }
}

/// Pairs of so many frames, rounded up to whole tiles.
pub(super) fn padded_pairs(frames: usize) -> usize {
    frames.div_ceil(2).next_multiple_of(SIDE)
}

/// The gradients of a [`LaneGroup`], to be written.
pub(super) struct LaneGroupMut<'a> {
    rows: &'a mut [u32],
    frame_pairs: &'a mut [u32],
}

impl LaneGroupMut<'_> {
    /// Rounds numbers `[frame][lane of the group]`: [`RoundedMembraneGrad::room`] frames, with
    /// zeros after the last one.
    pub fn write<F: Format>(self, format: F, numbers: &[f32]) {
        format.pack_row(&numbers[..2 * self.rows.len()], cast_slice_mut(self.rows));
        let frames = numbers.chunks_exact(2 * GROUP).zip(self.frame_pairs.chunks_exact_mut(GROUP));
        for (both, to) in frames {
            let (first, second) = both.split_at(GROUP);
            format.interleave(first, second, cast_slice_mut(to));
        }
    }
}

vectorised! {
    fn widen<'a>(from: &'a [u16], to: &'a mut [f32]) -> () {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = bf16_to_f32(from);
        }
    }
}

struct Round<'a>(&'a MembraneGrad);

impl FormatTask for Round<'_> {
    type Output = RoundedMembraneGrad;

    fn run<F: Format>(self, format: F) -> RoundedMembraneGrad {
        let exact = self.0;
        let MembraneGrad { grid, images, steps, .. } = *exact;
        let mut membrane_grad = RoundedMembraneGrad::new(grid, images, steps);
        let (room, groups) = (membrane_grad.room(), membrane_grad.rows.groups);
        let lane_groups: Vec<LaneGroupMut<'_>> = membrane_grad.lane_groups_mut().collect();
        lane_groups.into_par_iter().enumerate().for_each(|(index, to)| {
            let (position, group) = (index / groups, index % groups);
            let mut numbers = Scratch::zeros(room * GROUP);
            let frames = numbers.chunks_exact_mut(GROUP).take(images * steps);
            for (frame, numbers) in frames.enumerate() {
                let first = group * GROUP;
                for lane in (first..grid.lanes().min(first + GROUP)).step_by(LANES) {
                    let from = exact.lanes(lane / grid.tile, frame, position);
                    let from = &from[lane % grid.tile..][..LANES];
                    numbers[lane - first..][..LANES].copy_from_slice(from);
                }
            }
            to.write(format, &numbers);
        });
        membrane_grad
    }
}
