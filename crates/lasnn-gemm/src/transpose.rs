//! The transpose of a matrix, in squares of 16×16 or 8×8 numbers that stay in vector registers.

#[cfg(target_arch = "x86_64")]
mod registers;

use pulp::NullaryFnOnce;

use lasnn_core::simd::vectors;

/// A matrix: its elements, and the distance between the starts of two rows.
pub type Strided<N> = (N, usize);

/// Writes the transpose of `from` to `to`. The matrix `from` has `rows` rows and `columns` columns.
///
/// Elements of `to` between two rows are not changed.
///
/// # Panics
///
/// Panics if a slice is too short.
pub fn transpose(from: Strided<&[f32]>, to: Strided<&mut [f32]>, [rows, columns]: [usize; 2]) {
    let matrix = Matrix { from, to, rows, columns };
    match vectors() {
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V4(simd) => simd.vectorize(Transpose(simd, matrix)),
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V3(simd) => simd.vectorize(Transpose(simd, matrix)),
        _ => Transpose(Scalar, matrix).call(),
    }
}

type Square<const SIDE: usize> = [[f32; SIDE]; SIDE];

/// Transposes squares.
trait Squares: Copy {
    /// A square of 8×8 numbers.
    fn eight(self, rows: Square<8>) -> Square<8>;

    /// A square of 16×16 numbers.
    fn sixteen(self, rows: Square<16>) -> Square<16>;
}

struct Matrix<'a> {
    from: Strided<&'a [f32]>,
    to: Strided<&'a mut [f32]>,
    rows: usize,
    columns: usize,
}

struct Transpose<'a, S>(S, Matrix<'a>);

impl<S: Squares> NullaryFnOnce for Transpose<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(squares, mut matrix) = self;
        let Matrix { rows, columns, .. } = matrix;
        for column in (0..columns).step_by(16) {
            for row in (0..rows).step_by(16) {
                if row + 16 <= rows && column + 16 <= columns {
                    let transposed = squares.sixteen(matrix.read([row, column]));
                    matrix.write([row, column], transposed);
                } else {
                    matrix.transpose_edge(squares, [row, column]);
                }
            }
        }
    }
}

impl Matrix<'_> {
    #[inline(always)]
    fn read<const SIDE: usize>(&self, [row, column]: [usize; 2]) -> Square<SIDE> {
        let (from, pitch) = self.from;
        let mut square = [[0.0; SIDE]; SIDE];
        // No closure: a closure that is not inlined is compiled for the oldest processor.
        for (i, numbers) in square.iter_mut().enumerate() {
            numbers.copy_from_slice(&from[(row + i) * pitch + column..][..SIDE]);
        }
        square
    }

    #[inline(always)]
    fn write<const SIDE: usize>(&mut self, [row, column]: [usize; 2], transposed: Square<SIDE>) {
        let (to, pitch) = &mut self.to;
        for (i, numbers) in transposed.iter().enumerate() {
            to[(column + i) * *pitch + row..][..SIDE].copy_from_slice(numbers);
        }
    }

    /// The part of a square of 16×16 numbers that is inside the matrix.
    #[inline(always)]
    fn transpose_edge<S: Squares>(&mut self, squares: S, [row, column]: [usize; 2]) {
        for column in (column..self.columns.min(column + 16)).step_by(8) {
            for row in (row..self.rows.min(row + 16)).step_by(8) {
                if row + 8 <= self.rows && column + 8 <= self.columns {
                    let transposed = squares.eight(self.read([row, column]));
                    self.write([row, column], transposed);
                } else {
                    self.transpose_numbers([row, column]);
                }
            }
        }
    }

    /// The part of a square of 8×8 numbers that is inside the matrix.
    fn transpose_numbers(&mut self, [row, column]: [usize; 2]) {
        let ((from, from_pitch), (to, to_pitch)) = (self.from, &mut self.to);
        for column in column..self.columns.min(column + 8) {
            for row in row..self.rows.min(row + 8) {
                to[column * *to_pitch + row] = from[row * from_pitch + column];
            }
        }
    }
}

/// Transposes squares number by number.
#[derive(Clone, Copy)]
struct Scalar;

impl Squares for Scalar {
    fn eight(self, rows: Square<8>) -> Square<8> {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }

    fn sixteen(self, rows: Square<16>) -> Square<16> {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_matrices_and_writes_nothing_between_rows() {
        let sizes = [
            ([1, 1], [1, 1]),
            ([8, 8], [8, 8]),
            ([16, 16], [16, 16]),
            ([3, 40], [41, 5]),
            ([37, 17], [20, 64]),
            ([8, 50], [50, 8]),
            ([32, 41], [43, 33]),
        ];
        for level in crate::product::levels() {
            level.run(1, || sizes.iter().for_each(|&(size, pitches)| check(size, pitches)));
        }
    }

    fn check([rows, columns]: [usize; 2], [from_pitch, to_pitch]: [usize; 2]) {
        let from: Vec<f32> = (0..rows * from_pitch).map(|number| number as f32).collect();
        let mut to = vec![-1.0; columns * to_pitch];
        transpose((&from, from_pitch), (&mut to, to_pitch), [rows, columns]);
        for (index, &found) in to.iter().enumerate() {
            let (column, row) = (index / to_pitch, index % to_pitch);
            let expected = if row < rows { from[row * from_pitch + column] } else { -1.0 };
            assert_eq!(found, expected, "{rows} rows, {columns} columns, element {index}");
        }
    }
}
