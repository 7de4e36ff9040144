//! The product of two matrices in blocks.
//!
//! One thread computes one block of the product. It walks along the depth in stretches, packs both
//! operands of a stretch, and adds their product to the block.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::Matrix;
use super::kernel::{PackedProduct, row_multiple};
use super::pack::{LineBuffers, Part, pack_columns, pack_rows};
use crate::memory::Scratch;
use crate::product::{BLOCK, Format, FormatTask, depth_multiple};

// Rows and columns of a block, and the depth of a stretch. A block and its packed operands take a
// third of a MiB, which the second-level cache of a core can contain.
const ROWS: usize = 128;
const COLUMNS: usize = 256;
const DEPTH: usize = 256;

/// The product `left · right`, written row by row.
pub(super) struct BlockedProduct<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub product: &'a mut [f32],
}

impl FormatTask for BlockedProduct<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { left, right, product } = self;
        let [rows, columns] = [left.size[0], right.size[1]];
        let across = columns.div_ceil(COLUMNS);
        // The rows of each block.
        let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
        for band in product.chunks_mut(ROWS * columns) {
            let mut blocks_of_band: Vec<_> = (0..across).map(|_| Vec::new()).collect();
            for row in band.chunks_exact_mut(columns) {
                for (block, part) in blocks_of_band.iter_mut().zip(row.chunks_mut(COLUMNS)) {
                    block.push(part);
                }
            }
            blocks.append(&mut blocks_of_band);
        }
        debug_assert_eq!(blocks.len(), rows.div_ceil(ROWS) * across);
        blocks.into_par_iter().enumerate().for_each(|(number, mut block)| {
            let first = [number / across * ROWS, number % across * COLUMNS];
            let height = block.len();
            let width = block.first().map_or(0, |row| row.len());
            let sums = block_sums(format, left, right, first, [height, width]);
            let sums = sums.chunks_exact(width.next_multiple_of(BLOCK));
            for (row, sums) in block.iter_mut().zip(sums) {
                row.copy_from_slice(&sums[..width]);
            }
        });
    }
}

/// The sums of the block that begins at row and column `first`. Its rows are padded to a multiple
/// of [`BLOCK`] columns.
fn block_sums<F: Format>(
    format: F,
    left: Matrix<'_>,
    right: Matrix<'_>,
    first: [usize; 2],
    [height, width]: [usize; 2],
) -> Scratch {
    let depth = left.size[1];
    let columns = width.next_multiple_of(BLOCK);
    let longest = depth.min(DEPTH).next_multiple_of(depth_multiple::<F>() * F::PACKED);
    let full = height.next_multiple_of(row_multiple::<F>());
    let mut sums = Scratch::new(full * columns);
    let mut rows = Scratch::new(full * longest / F::PACKED);
    let mut blocks = Scratch::new(longest / F::PACKED * columns);
    let mut buffers = LineBuffers::new(longest.max(height).max(columns));
    let right_part = |start: usize| Part {
        of: right,
        first: [start, first[1]],
        size: [DEPTH.min(depth - start), width],
    };
    for start in (0..depth).step_by(DEPTH) {
        let count = DEPTH.min(depth - start);
        let length = count.next_multiple_of(depth_multiple::<F>() * F::PACKED);
        let rows = cast_slice_mut(&mut rows[..full * length / F::PACKED]);
        let part = Part { of: left, first: [first[0], start], size: [height, count] };
        pack_rows(format, part, length, &mut buffers, rows);
        let blocks = cast_slice_mut(&mut blocks[..length / F::PACKED * columns]);
        pack_columns(format, right_part(start), length, &mut buffers, blocks);
        let width = length / F::PACKED;
        let next = (start + DEPTH < depth).then(|| right_part(start + DEPTH));
        let add = start > 0;
        format.multiply(PackedProduct { rows, blocks, width, columns, add, sums: &mut sums, next });
    }
    sums
}
