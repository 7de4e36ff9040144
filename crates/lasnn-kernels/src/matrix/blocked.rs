//! Products in blocks: a tile of the product at a time, which one thread adds up over stretches of
//! the inner dimension, with both operands stored for the registers on the way.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::Matrix;
use crate::memory::{Scratch, prefetch};
use crate::product::{BLOCK, Format, Job, Product, STRETCH, TOGETHER, Task, rows_by_block};

/// Rows and columns of a tile, and how much of the inner dimension is stored at once: a tile and what
/// makes it are a third of a MiB, which a core's second-level cache holds.
const ROWS: usize = 128;
const COLUMNS: usize = 256;
const DEPTH: usize = 256;

/// Numbers of a line of the cache.
const CACHE_LINE: usize = 16;

/// `left · right`, row by row.
pub(super) struct Multiply<'a> {
    pub left: Matrix<'a>,
    pub right: Matrix<'a>,
    pub product: &'a mut [f32],
}

impl Job for Multiply<'_> {
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
    let longest = depth.min(DEPTH).next_multiple_of(STRETCH * F::HELD);
    let mut sums = Scratch::new(height * columns);
    let mut rows = Scratch::new(height * longest / F::HELD);
    let mut blocks = Scratch::new(longest / F::HELD * columns);
    let mut spare = Spare::new(longest.max(height).max(columns));
    let right_part = |start: usize| Part {
        of: right,
        first: [start, first[1]],
        size: [DEPTH.min(depth.saturating_sub(start)), width],
    };
    for start in (0..depth).step_by(DEPTH) {
        let count = DEPTH.min(depth - start);
        let length = count.next_multiple_of(STRETCH * F::HELD);
        let rows = cast_slice_mut(&mut rows[..height * length / F::HELD]);
        let part = Part { of: left, first: [first[0], start], size: [height, count] };
        store_rows(format, part, length, &mut spare, rows);
        let blocks = cast_slice_mut(&mut blocks[..length / F::HELD * columns]);
        store_blocks(format, right_part(start), length, &mut spare, blocks);
        let width = length / F::HELD;
        let (add, next) = (start > 0, right_part(start + DEPTH));
        format.dispatch(Tile { rows, blocks, width, columns, add, sums: &mut sums, next });
    }
    sums
}

/// Room for a line of a matrix and the one beside it, before and after they are stored.
struct Spare<N> {
    first: Vec<f32>,
    second: Vec<f32>,
    stored: Vec<N>,
}

impl<N: Clone + Default> Spare<N> {
    fn new(length: usize) -> Self {
        let line = || vec![0.0; length];
        Self { first: line(), second: line(), stored: vec![N::default(); length] }
    }
}

/// Some rows and columns of a matrix.
#[derive(Clone, Copy)]
struct Part<'a> {
    of: Matrix<'a>,
    first: [usize; 2],
    size: [usize; 2],
}

impl Part<'_> {
    /// Line `number` along an axis as it is, or copied to `spare` and filled up with zeros to its
    /// length.
    fn line<'s>(&self, axis: usize, number: usize, spare: &'s mut [f32]) -> &'s [f32]
    where
        Self: 's,
    {
        let Self { of: Matrix { elements, strides, .. }, first, size } = *self;
        if number >= size[1 - axis] {
            spare.fill(0.0);
            return spare;
        }
        let start = first[axis] * strides[axis];
        let elements = &elements[start + (first[1 - axis] + number) * strides[1 - axis]..];
        if strides[axis] == 1 && size[axis] == spare.len() {
            return &elements[..spare.len()];
        }
        let (to, rest) = spare.split_at_mut(size[axis]);
        match strides[axis] {
            1 => to.copy_from_slice(&elements[..to.len()]),
            stride => {
                to.iter_mut().zip(elements.iter().step_by(stride)).for_each(|(to, &x)| *to = x);
            }
        }
        rest.fill(0.0);
        spare
    }

    /// Brings one of so many equal shares into the cache.
    #[inline(always)]
    fn prefetch(&self, share: usize, shares: usize) {
        let axis = usize::from(self.by_rows());
        let lines = self.size[1 - axis];
        for line in lines * share / shares..lines * (share + 1) / shares {
            let start = self.first[axis] * self.of.strides[axis]
                + (self.first[1 - axis] + line) * self.of.strides[1 - axis];
            for at in (0..self.size[axis]).step_by(CACHE_LINE) {
                prefetch(self.of.elements, start + at);
            }
        }
    }

    /// Whether neighbours of a row are neighbours in memory.
    fn by_rows(&self) -> bool {
        self.of.strides[1] == 1
    }
}

/// Rows of `length`, filled up with zeros.
fn store_rows<F: Format>(
    format: F,
    part: Part<'_>,
    length: usize,
    spare: &mut Spare<F::Number>,
    to: &mut [F::Number],
) {
    let width = length / F::HELD;
    let Spare { first, second, stored } = spare;
    if part.by_rows() {
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            format.store(part.line(1, row, &mut first[..length]), to);
        }
        return;
    }
    let height = part.size[0];
    for number in 0..width {
        join(format, part, 0, number, [&mut first[..height], &mut second[..height]], stored);
        for (to, &stored) in to[number..].iter_mut().step_by(width).zip(&*stored) {
            *to = stored;
        }
    }
}

/// Blocks of columns, each `length` rows of [`BLOCK`], filled up with zeros.
fn store_blocks<F: Format>(
    format: F,
    part: Part<'_>,
    length: usize,
    spare: &mut Spare<F::Number>,
    to: &mut [F::Number],
) {
    let width = length / F::HELD;
    let columns = to.len() / width;
    let Spare { first, second, stored } = spare;
    if part.by_rows() {
        for number in 0..width {
            join(format, part, 1, number, [&mut first[..columns], &mut second[..columns]], stored);
            let blocks = to[number * BLOCK..].chunks_mut(width * BLOCK);
            for (to, stored) in blocks.zip(stored.chunks_exact(BLOCK)) {
                to[..BLOCK].copy_from_slice(stored);
            }
        }
        return;
    }
    for column in 0..columns {
        format.store(part.line(0, column, &mut first[..length]), &mut stored[..width]);
        let to = &mut to[column / BLOCK * width * BLOCK + column % BLOCK..];
        for (to, &stored) in to.iter_mut().step_by(BLOCK).zip(&stored[..width]) {
            *to = stored;
        }
    }
}

/// Stores as many lines along an axis together as a number holds.
fn join<F: Format>(
    format: F,
    part: Part<'_>,
    axis: usize,
    number: usize,
    [first, second]: [&mut [f32]; 2],
    to: &mut [F::Number],
) {
    let to = &mut to[..first.len()];
    let first = part.line(axis, F::HELD * number, first);
    match F::HELD {
        1 => format.join(first, first, to),
        _ => format.join(first, part.line(axis, F::HELD * number + 1, second), to),
    }
}

/// Writes the product of stored rows and blocks to the sums, or adds it.
struct Tile<'a, N> {
    /// `[row][number]`
    rows: &'a [N],
    /// `[block][number][column]`
    blocks: &'a [N],
    /// Numbers of a row.
    width: usize,
    columns: usize,
    add: bool,
    /// `[row][column]`
    sums: &'a mut [f32],
    /// What is stored next, to be brought from memory meanwhile: pieces of rows far apart are not
    /// what the processor foresees.
    next: Part<'a>,
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
                next.prefetch(block * groups + first / TOGETHER, turns);
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
