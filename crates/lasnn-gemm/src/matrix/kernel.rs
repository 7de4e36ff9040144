//! The inner loops of a product of packed operands.

use pulp::bytemuck::{Pod, cast_slice};

use super::pack::Part;
use crate::product::{
    BLOCK, BLOCK_ROWS, Format, Operand, Product, SIDE, Task, TileLayout, TileTask, Tiles,
    rows_by_block, tiles_left,
};

/// The number of packed rows must be padded to a multiple of this.
pub(super) fn row_multiple<F: Format>() -> usize {
    if F::TILED { SIDE } else { 1 }
}

/// The product of packed rows and packed blocks of columns. Writes it to the sums, or adds it.
pub(super) struct PackedProduct<'a, N> {
    /// `[row, depth]`
    pub rows: &'a [N],
    /// `[block, depth, column]`
    pub blocks: &'a [N],
    /// The depth, in elements.
    pub width: usize,
    /// Columns of all blocks.
    pub columns: usize,
    /// Whether the product is added to existing sums.
    pub add: bool,
    /// `[row, column]`
    pub sums: &'a mut [f32],
    /// What is packed after this product, to be loaded into the cache meanwhile. The processor does
    /// not predict where its rows begin.
    pub next: Option<Part<'a>>,
}

impl<N: Copy> Task<N> for PackedProduct<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<N>>(self, product: P) {
        let Self { rows, blocks, width, columns, add, sums, next } = self;
        let height = sums.len() / columns;
        let groups = height.div_ceil(BLOCK_ROWS);
        let turns = blocks.len() / (width * BLOCK) * groups;
        for (block, weights) in blocks.chunks_exact(width * BLOCK).enumerate() {
            for first in (0..height).step_by(BLOCK_ROWS) {
                if let Some(next) = next {
                    next.prefetch(block * groups + first / BLOCK_ROWS, turns);
                }
                // Rows after the last one repeat the last one, and their sums are not written.
                let values: [&[N]; BLOCK_ROWS] = std::array::from_fn(|row| {
                    &rows[(first + row).min(height - 1) * width..][..width]
                });
                for part in (0..BLOCK / P::LANES).step_by(2) {
                    let zero = [[product.zero(); 2]; BLOCK_ROWS];
                    let found = rows_by_block(product, zero, values, weights, part);
                    let column = block * BLOCK + part * P::LANES;
                    let rows = sums[first * columns..].chunks_exact_mut(columns);
                    for (sums, [low, high]) in rows.zip(found) {
                        let (to_low, to_high) = sums[column..].split_at_mut(P::LANES);
                        if add {
                            product.write(product.add_sums(product.read(to_low), low), to_low);
                            product.write(product.add_sums(product.read(to_high), high), to_high);
                        } else {
                            product.write(low, to_low);
                            product.write(high, to_high);
                        }
                    }
                }
            }
        }
    }
}

impl<N: Pod> TileTask for PackedProduct<'_, N> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { rows, blocks, width, columns, add, sums, next } = self;
        let (rows, blocks): (&[u32], &[u32]) = (cast_slice(rows), cast_slice(blocks));
        let height = sums.len() / columns;
        let groups = height.div_ceil(2 * SIDE);
        let turns = blocks.len() / (width * BLOCK) * groups;
        let layout = TileLayout::matrix(columns);
        for (block, weights) in blocks.chunks_exact(width * BLOCK).enumerate() {
            for first in (0..height).step_by(2 * SIDE) {
                if let Some(next) = next {
                    next.prefetch(block * groups + first / (2 * SIDE), turns);
                }
                let size = [tiles_left(first, height), BLOCK / SIDE];
                let sums = &mut sums[first * columns + block * BLOCK..];
                match add {
                    true => tiles.load(size, sums, layout),
                    false => tiles.zero(),
                }
                let products = (0..width).step_by(SIDE).map(|at| {
                    [
                        Operand::new(&rows[first * width + at..], width, SIDE * width),
                        Operand::new(&weights[at * BLOCK..], BLOCK, SIDE),
                    ]
                });
                tiles.add(size, products);
                tiles.store(size, sums, layout);
            }
        }
    }
}
