//! Gradients of the membranes of a layer on maps, rounded, as products take them: as rows where inputs get
//! their gradients, as depth where weights do.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::{FRAMES, Frames, GROUP};
use crate::event::simd::LANES;
use crate::f32::bptt::MembraneGrad;
use crate::geometry::Padded;
use crate::spikes::Grid;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, FormatTask, SIDE, bf16_to_f32, with_tile_format};

/// The gradients of membranes at all steps of some images.
#[derive(Debug)]
pub(crate) struct RoundedMembraneGrad {
    pub grid: Grid,
    pub images: usize,
    pub steps: usize,
    /// Lanes as channels.
    pub rows: Frames,
    /// `[position][group][pair of frames][lane of the group]`, with zeros where there are no frames.
    pairs: Scratch,
}

/// Pairs of so many frames, with those that fill up tiles.
pub(crate) fn pairs(frames: usize) -> usize {
    frames.div_ceil(2).next_multiple_of(SIDE)
}

/// A group of lanes at a position.
pub(crate) struct Cell<'a> {
    rows: &'a mut [u32],
    pairs: &'a mut [u32],
}

impl Cell<'_> {
    /// Rounds `[frame][lane of the group]`, which has zeros where there are no frames, up to
    /// [`RoundedMembraneGrad::room`].
    pub fn write<F: Format>(self, format: F, numbers: &[f32]) {
        format.pack_row(&numbers[..2 * self.rows.len()], cast_slice_mut(self.rows));
        let frames = numbers.chunks_exact(2 * GROUP).zip(self.pairs.chunks_exact_mut(GROUP));
        for (both, to) in frames {
            let (first, second) = both.split_at(GROUP);
            format.interleave(first, second, cast_slice_mut(to));
        }
    }
}

impl RoundedMembraneGrad {
    /// Room for gradients.
    pub fn new(grid: Grid, images: usize, steps: usize) -> Self {
        let (positions, frames) = (grid.shape.positions(), images * steps);
        let rows = Frames::new(positions, grid.lanes(), frames);
        let pairs = Scratch::new(positions * rows.groups * pairs(frames) * GROUP);
        Self { grid, images, steps, rows, pairs }
    }

    /// Frames that [`Cell::write`] takes.
    pub fn room(&self) -> usize {
        self.rows.count.next_multiple_of(FRAMES)
    }

    /// Where the gradients go: all groups of a position, one position after the other.
    pub(crate) fn cells(&mut self) -> impl Iterator<Item = Cell<'_>> {
        let size = pairs(self.rows.count) * GROUP;
        let pairs = cast_slice_mut(&mut self.pairs).chunks_exact_mut(size);
        self.rows.groups_mut().zip(pairs).map(|(rows, pairs)| Cell { rows, pairs })
    }

    /// The pairs from a block of [`SIDE`] lanes at a position on, one group after the other.
    #[inline(always)]
    pub fn pairs(&self, position: usize, block: usize) -> &[u32] {
        let (group, half) = (block * SIDE / GROUP, block * SIDE % GROUP);
        let at = (position * self.rows.groups + group) * pairs(self.rows.count) * GROUP;
        &cast_slice(&self.pairs)[at + half..]
    }

    /// Rounds gradients.
    pub fn rounded(exact: &MembraneGrad) -> Self {
        with_tile_format(Round(exact))
    }

    /// The same numbers in maps with borders.
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
                        let frame = image * steps + step;
                        let from = self.rows.from(position, lane / GROUP, frame);
                        widen(&cast_slice(from)[lane % GROUP..][..LANES], to);
                    }
                }
            }
        });
        MembraneGrad { grid, padded, images, steps, gradient }
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
        let cells: Vec<Cell<'_>> = membrane_grad.cells().collect();
        cells.into_par_iter().enumerate().for_each(|(index, cell)| {
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
            cell.write(format, &numbers);
        });
        membrane_grad
    }
}
