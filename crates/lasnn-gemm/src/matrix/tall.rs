//! Products of a tall matrix, which comes from memory once and in order, with a small one, which
//! every thread has stored in its cache.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::Matrix;
use super::store::{Part, Spare, store_blocks, store_rows};
use super::tile::{Tile, rows_together};
use crate::memory::Scratch;
use crate::product::{BLOCK, Format, Job, stretch};

/// Rows of a band.
const ROWS: usize = 32;

/// Numbers of a matrix that counts as small.
const SMALL: usize = 1 << 20;

/// `left · right`, row by row.
pub(super) struct Bands<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub product: &'a mut [f32],
}

/// Whether a product is one of these.
pub(super) fn fits(left: &Matrix<'_>, right: &Matrix<'_>) -> bool {
    let [rows, depth] = left.size;
    let columns = right.size[1];
    left.strides[1] == 1 && rows >= 4 * columns.max(ROWS) && depth * columns <= SMALL
}

impl Job for Bands<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { left, right, product } = self;
        let [depth, columns] = right.size;
        let length = depth.next_multiple_of(stretch::<F>() * F::HELD);
        let width = length / F::HELD;
        let full = columns.next_multiple_of(BLOCK);
        let spare = || Spare::new(length.max(BLOCK));

        let mut blocks = Scratch::new(width * full);
        let blocks: &mut [F::Number] = cast_slice_mut(&mut blocks);
        blocks.par_chunks_mut(width * BLOCK).enumerate().for_each_init(
            spare,
            |spare, (block, to)| {
                let first = block * BLOCK;
                let size = [depth, BLOCK.min(columns - first)];
                let part = Part { of: right, first: [0, first], size };
                store_blocks(format, part, length, spare, to);
            },
        );
        let blocks = &*blocks;

        product.par_chunks_mut(ROWS * columns).enumerate().for_each_init(
            spare,
            |spare, (band, product)| {
                let height = product.len() / columns;
                let together = height.next_multiple_of(rows_together::<F>());
                let mut rows = Scratch::new(together * width);
                let rows = cast_slice_mut(&mut rows);
                let part = Part { of: left, first: [band * ROWS, 0], size: [height, depth] };
                store_rows(format, part, length, spare, rows);
                let mut sums = Scratch::new(together * full);
                format.multiply(Tile {
                    rows,
                    blocks,
                    width,
                    columns: full,
                    add: false,
                    sums: &mut sums,
                    next: None,
                });
                let rows = product.chunks_exact_mut(columns).zip(sums.chunks_exact(full));
                rows.for_each(|(row, sums)| row.copy_from_slice(&sums[..columns]));
            },
        );
    }
}
