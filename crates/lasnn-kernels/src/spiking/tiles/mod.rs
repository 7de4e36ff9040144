//! Products that do not skip zeros, for processors that multiply tiles of bfloat16 (AMX).
//!
//! There a product costs so little that wide layers gain nothing by skipping nineteen of twenty
//! (`docs/performance.md`). Spikes become numbers for it: how often a window's channel fired, which
//! bfloat16 holds exactly up to 256.

mod frames;
mod input_grad;
#[cfg(test)]
mod tests;
mod weight_grad;

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use crate::memory::Scratch;
use crate::product::{BLOCK, Operand, Place, SIDE, TileTask, Tiles, has_tiles, pair, tiles_left};

use super::circuit::{Shape, View};
use super::linear::TILE;
use super::spikes::Grid;

pub(super) use frames::Frames;
pub(super) use input_grad::input_grad;
pub(super) use weight_grad::WeightGrad;

/// Whether spikes behind a view can be numbers for tiles.
pub(super) fn fit(view: &View) -> bool {
    has_tiles() && can_count(view)
}

/// Whether bfloat16 holds all numbers that can be behind a view.
fn can_count(view: &View) -> bool {
    view.pool[0] * view.pool[1] <= 256
}

/// Numbers that are multiplied together: as many pairs as a tile is deep.
const GROUP: usize = 2 * SIDE;

/// Convolution weights, as `super::convolution::pack` orders them `[tile][tap][input][output of the
/// tile]`, as `[tile][group of inputs][block of outputs][tap][pair of inputs][output of the block]`.
pub(super) fn pack_convolution(packed: &[f32], [inputs, taps]: [usize; 2], tile: usize) -> Scratch {
    let groups = inputs.div_ceil(GROUP);
    let tiles = packed.len() / (inputs * taps * tile);
    let mut pairs = Scratch::zeros(tiles * groups * taps * SIDE * tile);
    for (index, to) in pairs.chunks_exact_mut(SIDE * BLOCK).enumerate() {
        let to = cast_slice_mut(to);
        let (rest, tap) = (index / taps, index % taps);
        let (rest, block) = (rest / (tile / BLOCK), rest % (tile / BLOCK));
        let (of_tile, group) = (rest / groups, rest % groups);
        let rows = (group * GROUP..inputs.min((group + 1) * GROUP)).map(|input| {
            let row = (of_tile * taps + tap) * inputs + input;
            &packed[row * tile + block * BLOCK..][..BLOCK]
        });
        pack_pairs(rows, to.chunks_exact_mut(BLOCK));
    }
    pairs
}

/// Two rows at a time; a missing second one is zero.
fn pack_pairs<'a, 'b>(
    mut rows: impl Iterator<Item = &'a [f32]>,
    to: impl Iterator<Item = &'b mut [u32]>,
) {
    for to in to {
        let Some(first) = rows.next() else { return };
        let second = rows.next();
        for (column, (to, &first)) in to.iter_mut().zip(first).enumerate() {
            *to = pair(first, second.map_or(0.0, |second| second[column]));
        }
    }
}

/// The currents of one map from one step's spikes.
pub(super) struct Convolution<'a> {
    pub frames: &'a Frames,
    pub image: usize,
    pub step: usize,
    pub kernel: usize,
    pub stride: usize,
    /// The weights of a tile.
    pub weights: &'a [u32],
    pub grid: Grid,
    /// Those of [`Sums`].
    pub currents: &'a mut [f32],
}

/// How the currents of a map lie that [`Convolution`] makes: `[block of outputs][row][column][lane]`.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// Columns of a row, with what is between the rows.
    pitch: usize,
    /// Columns of all rows, multiples of a tile's.
    length: usize,
}

impl Sums {
    /// Without a stride, all rows are one line, with the border between them.
    pub fn new(shape: Shape, kernel: usize, stride: usize) -> Self {
        if stride == 1 {
            let pitch = shape.width + kernel - 1;
            let columns = (shape.height - 1) * pitch + shape.width;
            Self { pitch, length: columns.next_multiple_of(SIDE) }
        } else {
            let pitch = shape.width.next_multiple_of(SIDE);
            Self { pitch, length: shape.height * pitch }
        }
    }

    /// How many numbers they are, for a tile of so many outputs.
    pub fn len(self, tile: usize) -> usize {
        self.length * tile
    }

    /// Adds those of one row to currents `[column][lane]`.
    #[inline(always)]
    pub fn add_row(self, sums: &[f32], row: usize, tile: usize, scale: f32, currents: &mut [f32]) {
        for (block, sums) in sums.chunks_exact(self.length * BLOCK).enumerate() {
            let sums = sums[row * self.pitch * BLOCK..].as_chunks::<BLOCK>().0;
            for (currents, sums) in currents.chunks_exact_mut(tile).zip(sums) {
                let currents = &mut currents[block * BLOCK..][..BLOCK];
                for (current, sum) in currents.iter_mut().zip(sums) {
                    *current += scale * sum;
                }
            }
        }
    }
}

impl TileTask for Convolution<'_> {
    /// A group of inputs after the other, since what a group multiplies stays in the first-level cache
    /// for the whole map; the sums come and go.
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { frames, image, step, kernel, stride, weights, grid, currents } = self;
        let taps = kernel * kernel;
        let Sums { pitch, length } = Sums::new(grid.shape, kernel, stride);
        let (lines, of_line) = if stride == 1 { (1, length) } else { (grid.shape.height, pitch) };
        let numbers = &frames.pairs()[(image * frames.steps + step) * frames.pitch..];
        let place = Place::matrix(BLOCK);
        let rows = stride * SIDE;
        for (group, weights) in weights.chunks_exact(taps * SIDE * grid.tile).enumerate() {
            let numbers = &numbers[group * frames.positions * SIDE..];
            let blocks = weights.chunks_exact(taps * SIDE * BLOCK);
            for (weights, sums) in blocks.zip(currents.chunks_exact_mut(length * BLOCK)) {
                for line in 0..lines {
                    let mut start = 0;
                    while start < of_line {
                        let size = [tiles_left(start, of_line), BLOCK / SIDE];
                        let sums = &mut sums[(line * pitch + start) * BLOCK..];
                        match group {
                            0 => tiles.zero(),
                            _ => tiles.load(size, sums, place),
                        }
                        for tap in 0..taps {
                            let position = (line * stride + tap / kernel) * frames.width
                                + start * stride
                                + tap % kernel;
                            tiles.add(
                                size,
                                Operand::new(&numbers[position * SIDE..], rows, SIDE * rows),
                                Operand::new(&weights[tap * SIDE * BLOCK..], BLOCK, SIDE),
                            );
                        }
                        tiles.store(size, sums, place);
                        start += size[0] * SIDE;
                    }
                }
            }
        }
    }
}

/// A matrix `[inputs, outputs]`, its inputs in the order channels, positions, as `[block of
/// outputs][group][position][pair of channels][output of the block]`, for whole tiles of outputs.
pub(super) fn pack_matrix(matrix: &[f32], outputs: usize, positions: usize) -> Scratch {
    let channels = matrix.len() / outputs / positions;
    let depth = channels.div_ceil(GROUP) * positions * SIDE;
    let mut packed = Scratch::zeros(depth * outputs.next_multiple_of(TILE));
    packed.par_chunks_exact_mut(depth * BLOCK).enumerate().for_each(|(block, to)| {
        let columns = outputs.min(block * BLOCK)..outputs.min((block + 1) * BLOCK);
        let to: &mut [u32] = cast_slice_mut(to);
        for (index, to) in to.chunks_exact_mut(SIDE * BLOCK).enumerate() {
            let (group, position) = (index / positions, index % positions);
            let rows = (group * GROUP..channels.min((group + 1) * GROUP)).map(|channel| {
                &matrix[(channel * positions + position) * outputs..][columns.clone()]
            });
            pack_pairs(rows, to.chunks_exact_mut(BLOCK));
        }
    });
    packed
}

/// Adds the currents `[tile][image and step][lane]` of some tiles of outputs.
pub(super) struct Product<'a> {
    pub rows: &'a Frames,
    pub weights: &'a [u32],
    /// The first tile.
    pub first: usize,
    pub scale: f32,
    pub currents: &'a mut [f32],
}

/// Pairs that are multiplied before the next rows are: so many of 128 rows are a quarter of a MiB,
/// and so many rows of weights 64 KiB, which a core's second-level cache holds.
const DEPTH: usize = 512;

impl TileTask for Product<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { rows, weights, first, scale, currents } = self;
        let Frames { pitch, count, .. } = *rows;
        let (numbers, rows) = (rows.pairs(), count.next_multiple_of(SIDE));
        let depth = pitch - SIDE;
        let mut sums = Scratch::new(rows * TILE);
        for (tile, currents) in currents.chunks_exact_mut(count * TILE).enumerate() {
            for start in (0..depth).step_by(DEPTH) {
                let end = depth.min(start + DEPTH);
                for half in 0..TILE / BLOCK {
                    let block = (first + tile) * (TILE / BLOCK) + half;
                    let weights = &weights[block * depth * BLOCK..][..depth * BLOCK];
                    let mut row = 0;
                    while row < rows {
                        let size = [tiles_left(row, rows), BLOCK / SIDE];
                        let sums = &mut sums[row * TILE + half * BLOCK..];
                        match start {
                            0 => tiles.zero(),
                            _ => tiles.load(size, sums, Place::matrix(TILE)),
                        }
                        for at in (start..end).step_by(SIDE) {
                            tiles.add(
                                size,
                                Operand::new(&numbers[row * pitch + at..], pitch, SIDE * pitch),
                                Operand::new(&weights[at * BLOCK..], BLOCK, SIDE),
                            );
                        }
                        tiles.store(size, sums, Place::matrix(TILE));
                        row += size[0] * SIDE;
                    }
                }
            }
            for (current, &sum) in currents.iter_mut().zip(&*sums) {
                *current += scale * sum;
            }
        }
    }
}
