//! Currents downstream a matrix with tiles.

use std::ops::Range;

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::{Frames, GROUP};
use crate::event::linear::TILE;
use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};
use lasnn_gemm::product::{
    BLOCK, Format, FormatTask, Operand, SIDE, TileLayout, TileTask, Tiles, tiles_left,
};

/// Where the weights of a matrix come from.
#[derive(Clone, Copy)]
pub(crate) enum MatrixWeights<'a> {
    /// As [`super::pack_matrix`] orders them.
    Packed(&'a [u32]),
    /// As they are, `[inputs, outputs]`.
    Plain { matrix: &'a [f32], outputs: usize },
}

/// Adds the currents `[tile][image and step][lane]` of some tiles of outputs.
pub(crate) struct Product<'a> {
    pub frames: &'a Frames,
    pub weights: MatrixWeights<'a>,
    /// The first tile.
    pub first: usize,
    pub scale: f32,
    pub currents: &'a mut [f32],
}

/// Tiles that are multiplied before the next rows are: so many of 128 rows are a quarter of a MiB.
const DEPTH: usize = 32;

/// The same where the weights of a panel have to be packed, which take as much then.
const PACKED: usize = 8;

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
            MatrixWeights::Plain { .. } => (PACKED, blocks * PACKED * SIDE * BLOCK),
        };
        let mut buffer = Scratch::new(room);
        // [tile][row][lane]
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
                    let products = range.clone().map(|at| {
                        let (group, position) = (at / frames.positions, at % frames.positions);
                        let weights = &weights[(at - start) * SIDE * BLOCK..];
                        [
                            Operand::new(frames.from(position, group, row), SIDE, SIDE * SIDE),
                            Operand::new(weights, BLOCK, SIDE),
                        ]
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

/// Writes some rows and columns of a matrix as `[block of outputs][group and position][pair of
/// channels][output of the block]`, zeros where there are none.
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
                // Rows lie far apart, so the machine does not foresee where the next piece begins.
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
