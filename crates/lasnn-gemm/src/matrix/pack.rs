//! Operands of a product, packed in the order in which the inner loops read them.

use super::Matrix;
use crate::memory::{CacheLevel, prefetch};
use crate::product::{BLOCK, Format};

/// Numbers of a cache line.
const CACHE_LINE: usize = 16;

/// A rectangle of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub of: Matrix<'a>,
    /// The first row and column.
    pub first: [usize; 2],
    /// Rows and columns.
    pub size: [usize; 2],
}

/// Memory for two lines (rows or columns) of a matrix before they are packed, and for one line
/// after that.
pub(super) struct LineBuffers<N> {
    first: Vec<f32>,
    second: Vec<f32>,
    packed: Vec<N>,
}

impl<N: Clone + Default> LineBuffers<N> {
    /// Buffers for lines of at most `length` numbers.
    pub fn new(length: usize) -> Self {
        let line = || vec![0.0; length];
        Self { first: line(), second: line(), packed: vec![N::default(); length] }
    }
}

/// Packs rows, each padded with zeros to `length` numbers.
///
/// Rows of `to` after the last row of `part` are padding, whose products are not used.
pub(super) fn pack_rows<F: Format>(
    format: F,
    part: Part<'_>,
    length: usize,
    buffers: &mut LineBuffers<F::Element>,
    to: &mut [F::Element],
) {
    let width = length / F::PACKED;
    let LineBuffers { first, second, packed } = buffers;
    if part.has_contiguous_rows() {
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            format.pack_row(part.line(1, row, &mut first[..length]), to);
        }
        return;
    }
    let height = part.size[0];
    for number in 0..width {
        let lines = [&mut first[..height], &mut second[..height]];
        interleave_lines(format, part, 0, number, lines, packed);
        for (to, &packed) in to[number..].iter_mut().step_by(width).zip(&*packed) {
            *to = packed;
        }
    }
}

/// Packs columns in blocks `[length / PACKED, BLOCK]`, padded with zeros.
pub(super) fn pack_columns<F: Format>(
    format: F,
    part: Part<'_>,
    length: usize,
    buffers: &mut LineBuffers<F::Element>,
    to: &mut [F::Element],
) {
    let width = length / F::PACKED;
    let columns = to.len() / width;
    let LineBuffers { first, second, packed } = buffers;
    if part.has_contiguous_rows() {
        for number in 0..width {
            let lines = [&mut first[..columns], &mut second[..columns]];
            interleave_lines(format, part, 1, number, lines, packed);
            let blocks = to[number * BLOCK..].chunks_mut(width * BLOCK);
            for (to, packed) in blocks.zip(packed.chunks_exact(BLOCK)) {
                to[..BLOCK].copy_from_slice(packed);
            }
        }
        return;
    }
    for column in 0..columns {
        format.pack_row(part.line(0, column, &mut first[..length]), &mut packed[..width]);
        let to = &mut to[column / BLOCK * width * BLOCK + column % BLOCK..];
        for (to, &packed) in to.iter_mut().step_by(BLOCK).zip(&packed[..width]) {
            *to = packed;
        }
    }
}

/// Packs as many lines along `axis` as an element contains numbers, from line `PACKED · number` on.
fn interleave_lines<F: Format>(
    format: F,
    part: Part<'_>,
    axis: usize,
    number: usize,
    [first, second]: [&mut [f32]; 2],
    to: &mut [F::Element],
) {
    let to = &mut to[..first.len()];
    let first = part.line(axis, F::PACKED * number, first);
    match F::PACKED {
        1 => format.interleave(first, first, to),
        _ => format.interleave(first, part.line(axis, F::PACKED * number + 1, second), to),
    }
}

impl Part<'_> {
    /// A line along `axis`, as a slice as long as `buffer`.
    ///
    /// It is a slice of the matrix if possible. Otherwise it is copied to `buffer` and padded with
    /// zeros. A line after the last one is all zeros.
    fn line<'s>(&self, axis: usize, number: usize, buffer: &'s mut [f32]) -> &'s [f32]
    where
        Self: 's,
    {
        let Self { of: Matrix { elements, strides, .. }, first, size } = *self;
        if number >= size[1 - axis] {
            buffer.fill(0.0);
            return buffer;
        }
        let start = first[axis] * strides[axis];
        let elements = &elements[start + (first[1 - axis] + number) * strides[1 - axis]..];
        if strides[axis] == 1 && size[axis] == buffer.len() {
            return &elements[..buffer.len()];
        }
        let (to, rest) = buffer.split_at_mut(size[axis]);
        match strides[axis] {
            1 => to.copy_from_slice(&elements[..to.len()]),
            stride => {
                to.iter_mut().zip(elements.iter().step_by(stride)).for_each(|(to, &x)| *to = x);
            }
        }
        rest.fill(0.0);
        buffer
    }

    /// Loads share number `share` of `shares` equal shares into the second-level cache.
    #[inline(always)]
    pub fn prefetch(&self, share: usize, shares: usize) {
        let axis = usize::from(self.has_contiguous_rows());
        let lines = self.size[1 - axis];
        for line in lines * share / shares..lines * (share + 1) / shares {
            let start = self.first[axis] * self.of.strides[axis]
                + (self.first[1 - axis] + line) * self.of.strides[1 - axis];
            for at in (0..self.size[axis]).step_by(CACHE_LINE) {
                prefetch(self.of.elements, start + at, CacheLevel::L2);
            }
        }
    }

    fn has_contiguous_rows(&self) -> bool {
        self.of.strides[1] == 1
    }
}
