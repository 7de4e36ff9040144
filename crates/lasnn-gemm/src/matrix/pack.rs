//! Operands of a product, stored for the registers.

use super::Matrix;
use crate::memory::{Needed, prefetch};
use crate::product::{BLOCK, Format};

/// Numbers of a line of the cache.
const CACHE_LINE: usize = 16;

/// Room for a line of a matrix and the one beside it, before and after they are stored.
pub(super) struct Spare<N> {
    first: Vec<f32>,
    second: Vec<f32>,
    stored: Vec<N>,
}

impl<N: Clone + Default> Spare<N> {
    pub fn new(length: usize) -> Self {
        let line = || vec![0.0; length];
        Self { first: line(), second: line(), stored: vec![N::default(); length] }
    }
}

/// Some rows and columns of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub of: Matrix<'a>,
    pub first: [usize; 2],
    pub size: [usize; 2],
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
    pub fn prefetch(&self, share: usize, shares: usize) {
        let axis = usize::from(self.by_rows());
        let lines = self.size[1 - axis];
        for line in lines * share / shares..lines * (share + 1) / shares {
            let start = self.first[axis] * self.of.strides[axis]
                + (self.first[1 - axis] + line) * self.of.strides[1 - axis];
            for at in (0..self.size[axis]).step_by(CACHE_LINE) {
                prefetch(self.of.elements, start + at, Needed::Soon);
            }
        }
    }

    /// Whether neighbours of a row are neighbours in memory.
    fn by_rows(&self) -> bool {
        self.of.strides[1] == 1
    }
}

/// Rows of `length`, filled up with zeros.
pub(super) fn store_rows<F: Format>(
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
pub(super) fn store_blocks<F: Format>(
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
