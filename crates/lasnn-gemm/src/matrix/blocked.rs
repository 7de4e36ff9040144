//! Products in blocks: a tile of the product at a time, which one thread adds up over stretches of
//! the inner dimension, with both operands stored for the registers on the way.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::Matrix;
use super::store::{Part, Spare, store_blocks, store_rows};
use super::tile::{Tile, rows_together};
use crate::memory::Scratch;
use crate::product::{BLOCK, Format, Job, stretch};

/// Rows and columns of a tile, and how much of the inner dimension is stored at once: a tile and what
/// makes it are a third of a MiB, which a core's second-level cache holds.
const ROWS: usize = 128;
const COLUMNS: usize = 256;
const DEPTH: usize = 256;

/// `left · right`, row by row.
pub(super) struct Tiles<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub product: &'a mut [f32],
}

impl Job for Tiles<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { left, right, product } = self;
        let [rows, columns] = [left.size[0], right.size[1]];
        let across = columns.div_ceil(COLUMNS);
        // The rows of each tile.
        let mut tiles: Vec<Vec<&mut [f32]>> = Vec::new();
        for band in product.chunks_mut(ROWS * columns) {
            let mut tiles_of_band: Vec<_> = (0..across).map(|_| Vec::new()).collect();
            for row in band.chunks_exact_mut(columns) {
                for (tile, part) in tiles_of_band.iter_mut().zip(row.chunks_mut(COLUMNS)) {
                    tile.push(part);
                }
            }
            tiles.append(&mut tiles_of_band);
        }
        debug_assert_eq!(tiles.len(), rows.div_ceil(ROWS) * across);
        tiles.into_par_iter().enumerate().for_each(|(number, mut tile)| {
            let first = [number / across * ROWS, number % across * COLUMNS];
            let height = tile.len();
            let width = tile.first().map_or(0, |row| row.len());
            let found = compute(format, left, right, first, [height, width]);
            let found = found.chunks_exact(width.next_multiple_of(BLOCK));
            for (row, found) in tile.iter_mut().zip(found) {
                row.copy_from_slice(&found[..width]);
            }
        });
    }
}

/// A tile of the product from `first` on, its rows filled up to whole blocks.
fn compute<F: Format>(
    format: F,
    left: Matrix<'_>,
    right: Matrix<'_>,
    first: [usize; 2],
    [height, width]: [usize; 2],
) -> Scratch {
    let depth = left.size[1];
    let columns = width.next_multiple_of(BLOCK);
    let longest = depth.min(DEPTH).next_multiple_of(stretch::<F>() * F::HELD);
    let full = height.next_multiple_of(rows_together::<F>());
    let mut sums = Scratch::new(full * columns);
    let mut rows = Scratch::new(full * longest / F::HELD);
    let mut blocks = Scratch::new(longest / F::HELD * columns);
    let mut spare = Spare::new(longest.max(height).max(columns));
    let right_part = |start: usize| Part {
        of: right,
        first: [start, first[1]],
        size: [DEPTH.min(depth - start), width],
    };
    for start in (0..depth).step_by(DEPTH) {
        let count = DEPTH.min(depth - start);
        let length = count.next_multiple_of(stretch::<F>() * F::HELD);
        let rows = cast_slice_mut(&mut rows[..full * length / F::HELD]);
        let part = Part { of: left, first: [first[0], start], size: [height, count] };
        store_rows(format, part, length, &mut spare, rows);
        let blocks = cast_slice_mut(&mut blocks[..length / F::HELD * columns]);
        store_blocks(format, right_part(start), length, &mut spare, blocks);
        let width = length / F::HELD;
        let next = (start + DEPTH < depth).then(|| right_part(start + DEPTH));
        let add = start > 0;
        format.multiply(Tile { rows, blocks, width, columns, add, sums: &mut sums, next });
    }
    sums
}
