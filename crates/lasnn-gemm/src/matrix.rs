//! The product of two matrices.
//!
//! There are three implementations. A tall left matrix and a small right matrix are multiplied in
//! bands of rows, in both precisions. Other `f32` matrices are multiplied by the `gemm` library,
//! and other bfloat16 matrices in blocks, since that library does not support bfloat16.

#![allow(unsafe_code, reason = "the interface of the `gemm` library takes pointers")]

mod blocked;
mod kernel;
mod pack;
mod tall;

use gemm::Parallelism;
use lasnn_core::Precision;

use crate::product::with_format;
use blocked::BlockedProduct;
use tall::TallProduct;

/// A view of a matrix in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The slice, which begins with the element in row 0 and column 0.
    pub elements: &'a [f32],
    /// The numbers of rows and columns.
    pub size: [usize; 2],
    /// The distance from one row to the next, and from one column to the next.
    pub strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A row-major matrix of `size[0]` rows and `size[1]` columns.
    pub fn rows(elements: &'a [f32], size: [usize; 2]) -> Self {
        Self { elements, size, strides: [size[1], 1] }
    }

    /// The transpose, as a view of the same slice.
    pub fn transposed(self) -> Self {
        let Self { elements, size: [rows, columns], strides: [down, right] } = self;
        Self { elements, size: [columns, rows], strides: [right, down] }
    }

    fn check(&self) {
        let last = |axis: usize| (self.size[axis] - 1) * self.strides[axis];
        let inside = self.size.contains(&0) || last(0) + last(1) < self.elements.len();
        let Self { size, strides, .. } = self;
        let found = self.elements.len();
        assert!(inside, "{found} elements of a matrix of size {size:?} with strides {strides:?}");
    }
}

/// Writes the product `left · right` to `product`, a row-major matrix.
///
/// With [`Precision::Bf16`] the elements of both matrices are rounded to bfloat16. Sums are `f32`.
/// The result does not depend on the number of threads.
///
/// # Panics
///
/// Panics if the columns of `left` and the rows of `right` differ in number, if `product` does not
/// have the size of the product, or if the slice of a matrix is too short.
pub fn multiply(precision: Precision, left: Matrix<'_>, right: Matrix<'_>, product: &mut [f32]) {
    let ([rows, depth], [right_rows, columns]) = (left.size, right.size);
    assert_eq!(depth, right_rows, "columns on the left, rows on the right");
    assert_eq!(product.len(), rows * columns, "elements of the product");
    left.check();
    right.check();
    if product.is_empty() {
        return;
    }
    if depth == 0 {
        product.fill(0.0);
        return;
    }
    if tall::applies(&left, &right) {
        return with_format(precision, TallProduct { left, right, product });
    }
    match precision {
        Precision::F32 => multiply_f32(left, right, product),
        Precision::Bf16 => with_format(precision, BlockedProduct { left, right, product }),
    }
}

/// Calls the `gemm` library. The operands must have passed [`Matrix::check`] and must not be empty.
fn multiply_f32(left: Matrix<'_>, right: Matrix<'_>, product: &mut [f32]) {
    let ([rows, depth], [_, columns]) = (left.size, right.size);
    let parallelism = match rayon::current_num_threads() {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    let [left_strides, right_strides] =
        [left.strides, right.strides].map(|s| s.map(|s| s as isize));
    // SAFETY: `Matrix::check` asserted that each operand contains the largest index that its size
    // and strides give. The product has exactly `rows · columns` elements, and is not aliased since
    // it is borrowed mutably. It is not read, since `read_dst` is false.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            product.as_mut_ptr(),
            1,
            columns as isize,
            false,
            left.elements.as_ptr(),
            left_strides[1],
            left_strides[0],
            right.elements.as_ptr(),
            right_strides[1],
            right_strides[0],
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use lasnn_core::simd::Level;

    #[test]
    fn products_of_matrices_and_their_transposes() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 1.0, -1.0, 1.0]);
        for precision in [Precision::F32, Precision::Bf16] {
            let (left, right) = (Matrix::rows(&a, [2, 3]), Matrix::rows(&b, [3, 2]));
            let mut product = [0.0; 4];
            multiply(precision, left, right, &mut product);
            assert_eq!(product, [2.0, 5.0, 8.0, 11.0]);
            multiply(precision, Matrix::rows(&a, [3, 2]).transposed(), right, &mut product);
            assert_eq!(product, [2.0, 8.0, 4.0, 10.0]);
        }
    }

    fn integers(count: usize, by: usize) -> Vec<f32> {
        (0..count).map(|i| (i * by % 255) as f32 - 127.0).collect()
    }

    /// A matrix of the given size, stored row by row or, if `transposed`, column by column.
    fn view(elements: &[f32], [rows, columns]: [usize; 2], transposed: bool) -> Matrix<'_> {
        match transposed {
            true => Matrix::rows(elements, [columns, rows]).transposed(),
            false => Matrix::rows(elements, [rows, columns]),
        }
    }

    proptest! {
        /// Bfloat16 represents these factors exactly, and `f32` represents their sums.
        #[test]
        fn both_precisions_multiply_small_integers_exactly(
            (rows, columns) in (1..300usize, 1..300usize),
            depth in prop_oneof![0..40usize, 500..530usize, 1030..1040usize],
            transposed: [bool; 2],
        ) {
            let (a, b) = (integers(rows * depth, 31), integers(depth * columns, 17));
            let left = view(&a, [rows, depth], transposed[0]);
            let right = view(&b, [depth, columns], transposed[1]);
            let run = |precision| {
                let mut product = vec![f32::NAN; rows * columns];
                multiply(precision, left, right, &mut product);
                product
            };
            let found = run(Precision::Bf16);
            let at = |matrix: Matrix<'_>, [row, column]: [usize; 2]| {
                matrix.elements[row * matrix.strides[0] + column * matrix.strides[1]]
            };
            for [row, column] in [[0, 0], [rows - 1, columns - 1], [rows / 2, columns / 3]] {
                let terms = (0..depth).map(|k| at(left, [row, k]) * at(right, [k, column]));
                prop_assert_eq!(found[row * columns + column], terms.sum::<f32>());
            }
            prop_assert_eq!(&found, &run(Precision::F32));
            if rows * columns * depth < 1 << 18 {
                prop_assert_eq!(&found, &Level::EmulatedTiles.run(2, || run(Precision::Bf16)));
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (a, b) = (integers(37 * 700, 7919), integers(700 * 300, 7907));
        let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(|x| x.sin()).collect(), b);
        let with = |threads: usize, precision| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut found = vec![0.0; 37 * 300];
            let (a, b) = (Matrix::rows(&a, [37, 700]), Matrix::rows(&b, [700, 300]));
            pool.install(|| multiply(precision, a, b, &mut found));
            found
        };
        for precision in [Precision::F32, Precision::Bf16] {
            assert_eq!(with(1, precision), with(3, precision));
        }
    }
}
