//! The product of a tall left matrix and a small right matrix.
//!
//! Every thread has the packed right matrix in its cache. The left matrix is read from memory once,
//! in order, in bands of a few rows.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::Matrix;
use super::kernel::{PackedProduct, row_multiple};
use super::pack::{LineBuffers, Part, pack_columns, pack_rows};
use crate::memory::Scratch;
use crate::product::{BLOCK, Format, FormatTask, depth_multiple};

/// Rows of a band.
const ROWS: usize = 32;

/// The largest number of elements of a small matrix.
const SMALL: usize = 1 << 20;

/// The product `left · right`, written row by row.
pub(super) struct TallProduct<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub product: &'a mut [f32],
}

/// Whether the left matrix is tall and has contiguous rows, and the right matrix is small.
pub(super) fn applies(left: &Matrix<'_>, right: &Matrix<'_>) -> bool {
    let [rows, depth] = left.size;
    let columns = right.size[1];
    left.strides[1] == 1 && rows >= 4 * columns.max(ROWS) && depth * columns <= SMALL
}

impl FormatTask for TallProduct<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { left, right, product } = self;
        let [depth, columns] = right.size;
        let length = depth.next_multiple_of(depth_multiple::<F>() * F::PACKED);
        let width = length / F::PACKED;
        let full = columns.next_multiple_of(BLOCK);
        let buffers = || LineBuffers::new(length.max(BLOCK));

        let mut blocks = Scratch::new(width * full);
        let blocks: &mut [F::Element] = cast_slice_mut(&mut blocks);
        blocks.par_chunks_mut(width * BLOCK).enumerate().for_each_init(
            buffers,
            |buffers, (block, to)| {
                let first = block * BLOCK;
                let size = [depth, BLOCK.min(columns - first)];
                let part = Part { of: right, first: [0, first], size };
                pack_columns(format, part, length, buffers, to);
            },
        );
        let blocks = &*blocks;

        product.par_chunks_mut(ROWS * columns).enumerate().for_each_init(
            buffers,
            |buffers, (band, product)| {
                let height = product.len() / columns;
                let padded = height.next_multiple_of(row_multiple::<F>());
                let mut rows = Scratch::new(padded * width);
                let rows = cast_slice_mut(&mut rows);
                let part = Part { of: left, first: [band * ROWS, 0], size: [height, depth] };
                pack_rows(format, part, length, buffers, rows);
                let mut sums = Scratch::new(padded * full);
                format.multiply(PackedProduct {
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
