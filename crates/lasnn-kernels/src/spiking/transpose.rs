//! Rows turned into columns, in pieces that stay in the nearest cache.

use super::simd::LANES;

/// Numbers of a matrix of rows and columns: the first one, and how far apart rows are.
pub(super) type Strided<N> = (N, usize);

/// Writes number `column` of row `row` of `from` to number `row` of row `column` of `to`, for a matrix of so
/// many rows and columns in `from`.
///
/// Rows are often a power of two apart, and then in one another's place in the cache; so a piece is copied
/// side by side first, as many numbers of as many rows as are found in lines of the cache.
pub(super) fn transpose(
    (from, from_pitch): Strided<&[f32]>,
    (to, to_pitch): Strided<&mut [f32]>,
    [rows, columns]: [usize; 2],
) {
    for first_column in (0..columns).step_by(LANES) {
        let width = LANES.min(columns - first_column);
        for first_row in (0..rows).step_by(LANES) {
            let height = LANES.min(rows - first_row);
            let mut near = [[0.0; LANES]; LANES];
            for (row, number) in (first_row..first_row + height).enumerate() {
                let from = &from[number * from_pitch + first_column..][..width];
                near.iter_mut().zip(from).for_each(|(near, &number)| near[row] = number);
            }
            for (near, number) in near[..width].iter().zip(first_column..) {
                to[number * to_pitch + first_row..][..height].copy_from_slice(&near[..height]);
            }
        }
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
