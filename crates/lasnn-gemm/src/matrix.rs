//! Matrix products.

#![allow(unsafe_code, reason = "the interface of the `gemm` library takes pointers")]

mod bands;
mod store;
mod tile;
mod tiles;

use crate::product::with_format;
use bands::Bands;
use gemm::Parallelism;
use tiles::Tiles;

use lasnn_core::Precision;

/// A matrix in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements.
    pub elements: &'a [f32],
    /// Rows and columns.
    pub size: [usize; 2],
    /// Elements from one row to the next, and from one column to the next.
    pub strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A matrix stored row by row.
    pub fn rows(elements: &'a [f32], size: [usize; 2]) -> Self {
        Self { elements, size, strides: [size[1], 1] }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let Self { elements, size: [rows, columns], strides: [down, right] } = self;
        Self { elements, size: [columns, rows], strides: [right, down] }
    }

    fn check(&self) {
        let last = |axis: usize| (self.size[axis] - 1) * self.strides[axis];
        let inside = self.size.contains(&0) || last(0) + last(1) < self.elements.len();
        assert!(inside, "{:?} elements of {:?}", self.elements.len(), (self.size, self.strides));
    }
}

/// Writes `left · right` to `product`, row by row.
///
/// # Panics
///
/// Panics if the sizes do not fit, or a matrix has fewer elements than its size says.
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
    if bands::fits(&left, &right) {
        return with_format(precision, Bands { left, right, product });
    }
    match precision {
        Precision::F32 => multiply_f32(left, right, product),
        // `gemm` knows no pairs of bfloat16.
        Precision::Bf16 => with_format(precision, Tiles { left, right, product }),
    }
}

/// The product of operands that have been checked, none of them empty.
fn multiply_f32(left: Matrix<'_>, right: Matrix<'_>, product: &mut [f32]) {
    let ([rows, depth], [_, columns]) = (left.size, right.size);
    let parallelism = match rayon::current_num_threads() {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    let [left_strides, right_strides] =
        [left.strides, right.strides].map(|s| s.map(|s| s as isize));
    // SAFETY: both operands have been checked to contain the largest index that their size and
    // strides give, the product has exactly `rows · columns` elements and is not aliased, being
    // borrowed mutably. It is not read, since `read_dst` is false.
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

    fn numbers(count: usize, by: usize) -> Vec<f32> {
        (0..count).map(|i| (i * by % 255) as f32 - 127.0).collect()
    }

    proptest! {
        /// Whole numbers so small that bfloat16 holds them, and `f32` their sums.
        #[test]
        fn both_precisions_multiply_small_whole_numbers_exactly(
            (rows, columns) in (1..300usize, 1..300usize),
            depth in prop_oneof![0..40usize, 500..530usize, 1030..1040usize],
            turned: [bool; 2],
        ) {
            let (a, b) = (numbers(rows * depth, 31), numbers(depth * columns, 17));
            let left = Matrix::rows(&a, if turned[0] { [depth, rows] } else { [rows, depth] });
            let left = if turned[0] { left.transposed() } else { left };
            let right = Matrix::rows(&b, if turned[1] { [columns, depth] } else { [depth, columns] });
            let right = if turned[1] { right.transposed() } else { right };
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
    fn threads_change_no_bit() {
        let (a, b) = (numbers(37 * 700, 7919), numbers(700 * 300, 7907));
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
