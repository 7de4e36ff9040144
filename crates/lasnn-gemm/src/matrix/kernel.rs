//! The inner loops of a product.

use pulp::bytemuck::{Pod, cast_slice};

use super::store::Part;
use crate::product::{
    BLOCK, Format, Operand, Place, Product, SIDE, TOGETHER, Task, TileTask, Tiles, rows_by_block,
    tiles_left,
};

/// Rows are filled up to a multiple of this.
pub(super) fn rows_together<F: Format>() -> usize {
    if F::TILED { SIDE } else { 1 }
}

/// Writes the product of stored rows and blocks to the sums, or adds it.
pub(super) struct Tile<'a, N> {
    /// `[row][number]`
    pub rows: &'a [N],
    /// `[block][number][column]`
    pub blocks: &'a [N],
    /// Numbers of a row.
    pub width: usize,
    pub columns: usize,
    /// Whether the sums hold something to add to.
    pub add: bool,
    /// `[row][column]`
    pub sums: &'a mut [f32],
    /// What is stored next, to be brought from memory meanwhile: pieces of rows far apart are not
    /// what the processor foresees.
    pub next: Option<Part<'a>>,
}

impl<N: Copy> Task<N> for Tile<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<N>>(self, product: P) {
        let Self { rows, blocks, width, columns, add, sums, next } = self;
        let height = sums.len() / columns;
        let groups = height.div_ceil(TOGETHER);
        let turns = blocks.len() / (width * BLOCK) * groups;
        for (block, weights) in blocks.chunks_exact(width * BLOCK).enumerate() {
            for first in (0..height).step_by(TOGETHER) {
                if let Some(next) = next {
                    next.prefetch(block * groups + first / TOGETHER, turns);
                }
                // Those that are missing repeat the last one.
                let values: [&[N]; TOGETHER] = std::array::from_fn(|row| {
                    &rows[(first + row).min(height - 1) * width..][..width]
                });
                for part in (0..BLOCK / P::LANES).step_by(2) {
                    let zero = [[product.zero(); 2]; TOGETHER];
                    let found = rows_by_block(product, zero, values, weights, part);
                    let column = block * BLOCK + part * P::LANES;
                    let rows = sums[first * columns..].chunks_exact_mut(columns);
                    for (sums, [low, high]) in rows.zip(found) {
                        let (to_low, to_high) = sums[column..].split_at_mut(P::LANES);
                        if add {
                            product.write(product.both(product.read(to_low), low), to_low);
                            product.write(product.both(product.read(to_high), high), to_high);
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

impl<N: Pod> TileTask for Tile<'_, N> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { rows, blocks, width, columns, add, sums, next } = self;
        let (rows, blocks): (&[u32], &[u32]) = (cast_slice(rows), cast_slice(blocks));
        let height = sums.len() / columns;
        let groups = height.div_ceil(2 * SIDE);
        let turns = blocks.len() / (width * BLOCK) * groups;
        let place = Place::matrix(columns);
        for (block, weights) in blocks.chunks_exact(width * BLOCK).enumerate() {
            for first in (0..height).step_by(2 * SIDE) {
                if let Some(next) = next {
                    next.prefetch(block * groups + first / (2 * SIDE), turns);
                }
                let size = [tiles_left(first, height), BLOCK / SIDE];
                let sums = &mut sums[first * columns + block * BLOCK..];
                match add {
                    true => tiles.load(size, sums, place),
                    false => tiles.zero(),
                }
                let products = (0..width).step_by(SIDE).map(|at| {
                    [
                        Operand::new(&rows[first * width + at..], width, SIDE * width),
                        Operand::new(&weights[at * BLOCK..], BLOCK, SIDE),
                    ]
                });
                tiles.add(size, products);
                tiles.store(size, sums, place);
            }
        }
    }
}
