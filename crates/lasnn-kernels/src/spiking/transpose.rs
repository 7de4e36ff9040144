//! Rows turned into columns, in pieces that stay in the nearest cache.

use super::simd::LANES;
use crate::simd::vectorised;

/// Numbers of a matrix of rows and columns: the first one, and how far apart rows are.
pub(super) type Strided<N> = (N, usize);

vectorised! {
    /// Writes number `column` of row `row` of `from` to number `row` of row `column` of `to`, for a matrix of
    /// so many rows and columns in `from`.
    ///
    /// Rows are often a power of two apart, and then in one another's place in the cache; so a piece is copied
    /// side by side first, as many numbers of as many rows as are found in lines of the cache.
    pub(super) fn transpose<'a>(
        from: Strided<&'a [f32]>,
        to: Strided<&'a mut [f32]>,
        size: [usize; 2],
    ) -> () {
        let ([rows, columns], (to, to_pitch)) = (size, to);
        for column in (0..columns).step_by(LANES) {
            for row in (0..rows).step_by(LANES) {
                let from = (&from.0[row * from.1 + column..], from.1);
                let to = (&mut to[column * to_pitch + row..], to_pitch);
                match [rows - row, columns - column].map(|left| left.min(LANES)) {
                    // A known size needs no calls for what it copies.
                    [LANES, LANES] => piece(from, to, [LANES; 2]),
                    less => piece(from, to, less),
                }
            }
        }
    }
}

/// The same of at most [`LANES`] rows and columns.
#[inline(always)]
fn piece(
    (from, from_pitch): Strided<&[f32]>,
    (to, to_pitch): Strided<&mut [f32]>,
    [rows, columns]: [usize; 2],
) {
    let mut near = [[0.0; LANES]; LANES];
    for row in 0..rows {
        let from = &from[row * from_pitch..][..columns];
        near.iter_mut().zip(from).for_each(|(near, &number)| near[row] = number);
    }
    for (column, near) in near[..columns].iter().enumerate() {
        to[column * to_pitch..][..rows].copy_from_slice(&near[..rows]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_and_nothing_else_is_written() {
        for ([rows, columns], [from_pitch, to_pitch]) in
            [([1, 1], [1, 1]), ([16, 16], [16, 16]), ([3, 40], [41, 5]), ([37, 17], [20, 64])]
        {
            let from: Vec<f32> = (0..rows * from_pitch).map(|number| number as f32).collect();
            let mut to = vec![-1.0; columns * to_pitch];
            transpose((&from, from_pitch), (&mut to, to_pitch), [rows, columns]);
            for (index, &found) in to.iter().enumerate() {
                let (column, row) = (index / to_pitch, index % to_pitch);
                let expected = if row < rows { from[row * from_pitch + column] } else { -1.0 };
                assert_eq!(found, expected, "{rows} rows, {columns} columns, number {index}");
            }
        }
    }
}
