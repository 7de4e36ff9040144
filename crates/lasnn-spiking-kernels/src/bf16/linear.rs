//! Currents of a linear layer with AMX.

use std::ops::Range;

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::frames::LaneGroup;
use super::{Frames, GROUP, TILE_LEN};
use crate::event::linear::TILE;
use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};
use lasnn_gemm::product::{
    BLOCK, Format, FormatTask, Operand, SIDE, TileLayout, TileTask, Tiles, tiles_left,
};

/// The weights of a linear layer.
#[derive(Clone, Copy)]
pub(crate) enum MatrixWeights<'a> {
    /// In the order of [`super::pack_matrix`].
    Packed(&'a [u32]),
    /// `[inputs, outputs]` in `f32`; the product packs them.
    Plain { matrix: &'a [f32], outputs: usize },
}

/// Adds currents to `currents`, `[channel tile][image and step][lane]`, for the channel tiles from
/// `first` on. Needs a format with tiles.
pub(crate) struct Product<'a> {
    pub frames: &'a Frames,
    pub weights: MatrixWeights<'a>,
    /// The first channel tile.
    pub first: usize,
    /// The value of a spike after pooling and mask.
    pub scale: f32,
    pub currents: &'a mut [f32],
}

/// Products that are summed before the next rows are taken: with 128 rows, the rows of so many
/// products are a quarter of a MiB.
const DEPTH: usize = 32;

/// The same number if the weights have to be packed: those of a panel are a quarter of a MiB, too.
const PACKED_DEPTH: usize = 8;

impl FormatTask for Product<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        format.with_tiles(Multiply { of: self, format });
    }
}

struct Multiply<'a, F> {
    of: Product<'a>,
    format: F,
}

impl<F: Format> TileTask for Multiply<'_, F> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { of: Product { frames, weights, first, scale, currents }, format } = self;
        let (count, rows) = (frames.count, frames.room);
        let depth = frames.groups * frames.positions;
        let blocks = currents.len() / (count * BLOCK);
        let (step, room) = match weights {
            MatrixWeights::Packed(_) => (DEPTH, 0),
            MatrixWeights::Plain { .. } => (PACKED_DEPTH, blocks * PACKED_DEPTH * SIDE * BLOCK),
        };
        let mut buffer = Scratch::new(room);
        // [channel tile][row][lane]
        let mut sums = Scratch::new(blocks * rows * BLOCK);
        for start in (0..depth).step_by(step) {
            let range = start..depth.min(start + step);
            if let MatrixWeights::Plain { matrix, outputs } = weights {
                let columns = first * TILE..outputs.min(first * TILE + blocks * BLOCK);
                let shape = [outputs, frames.positions];
                let packed = &mut cast_slice_mut(&mut buffer)[..];
                pack(format, matrix, shape, columns, range.clone(), packed);
            }
            for block in 0..blocks {
                let weights = match weights {
                    MatrixWeights::Packed(all) => {
                        let block = first * (TILE / BLOCK) + block;
                        &all[(block * depth + start) * SIDE * BLOCK..]
                    }
                    MatrixWeights::Plain { .. } => {
                        &cast_slice(&buffer)[block * range.len() * SIDE * BLOCK..]
                    }
                };
                let sums = &mut sums[block / 2 * rows * TILE + block % 2 * BLOCK..];
                for row in (0..rows).step_by(2 * SIDE) {
                    let size = [tiles_left(row, rows), BLOCK / SIDE];
                    let sums = &mut sums[row * TILE..];
                    match start {
                        0 => tiles.zero(),
                        _ => tiles.load(size, sums, TileLayout::matrix(TILE)),
                    }
                    let products = range.clone().map(|index| {
                        let (group, position) =
                            (index / frames.positions, index % frames.positions);
                        let rows = frames.channel_pairs(LaneGroup { position, group }, row);
                        let weights = &weights[(index - start) * SIDE * BLOCK..];
                        [Operand::new(rows, SIDE, TILE_LEN), Operand::new(weights, BLOCK, SIDE)]
                    });
                    tiles.add(size, products);
                    tiles.store(size, sums, TileLayout::matrix(TILE));
                }
            }
        }
        let tiles = currents.chunks_exact_mut(count * TILE).zip(sums.chunks_exact(rows * TILE));
        for (currents, sums) in tiles {
            for (current, &sum) in currents.iter_mut().zip(sums) {
                *current += scale * sum;
            }
        }
    }
}

/// Packs some rows and columns of a matrix `[inputs, outputs]` as `[block of outputs]
/// [group of channels and position][pair of channels][output of the block]`.
///
/// `depth` counts groups and positions, positions faster. Missing channels and outputs are zeros.
fn pack<F: Format>(
    format: F,
    matrix: &[f32],
    [outputs, positions]: [usize; 2],
    columns: Range<usize>,
    depth: Range<usize>,
    packed: &mut [u32],
) {
    let channels = matrix.len() / outputs / positions;
    let none = vec![0.0; columns.len()];
    let size = depth.len() * SIDE * BLOCK;
    let whole = columns.len().is_multiple_of(BLOCK);
    if !whole {
        packed.fill(0);
    }
    for (index, at) in depth.enumerate() {
        let (group, position) = (at / positions, at % positions);
        let row = |channel: usize| match channel < channels {
            true => {
                let row = channel * positions + position;
                // The rows lie so far apart that the processor does not foresee the next one.
                let next = if positions == 1 { row + GROUP } else { row + 1 };
                for column in columns.clone().step_by(SIDE) {
                    prefetch(matrix, next * outputs + column, CacheLevel::L2);
                }
                &matrix[row * outputs..][columns.clone()]
            }
            false => &none[..],
        };
        for pair in 0..SIDE {
            let channel = group * GROUP + 2 * pair;
            let (first, second) = (row(channel), row(channel + 1));
            let blocks = first.chunks(BLOCK).zip(second.chunks(BLOCK));
            for ((first, second), to) in blocks.zip(packed.chunks_exact_mut(size)) {
                let to = &mut to[(index * SIDE + pair) * BLOCK..][..first.len()];
                format.interleave(first, second, cast_slice_mut(to));
            }
        }
    }
}
