//! Matrix products.

use gemm::Parallelism;

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
pub fn multiply(left: Matrix<'_>, right: Matrix<'_>, product: &mut [f32]) {
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
    use super::*;

    #[test]
    fn products_of_matrices_and_their_transposes() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 1.0, -1.0, 1.0]);
        let mut product = [0.0; 4];
        multiply(Matrix::rows(&a, [2, 3]), Matrix::rows(&b, [3, 2]), &mut product);
        assert_eq!(product, [2.0, 5.0, 8.0, 11.0]);
        multiply(Matrix::rows(&a, [3, 2]).transposed(), Matrix::rows(&b, [3, 2]), &mut product);
        assert_eq!(product, [2.0, 8.0, 4.0, 10.0]);
    }

    #[test]
    fn threads_change_no_bit() {
        let numbers = |n: usize| -> Vec<f32> { (0..n).map(|i| (i * 7919 % 1009) as f32).collect() };
        let (a, b) = (numbers(37 * 300), numbers(300 * 129));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut found = vec![0.0; 37 * 129];
            let (a, b) = (Matrix::rows(&a, [37, 300]), Matrix::rows(&b, [300, 129]));
            pool.install(|| multiply(a, b, &mut found));
            found
        };
        assert_eq!(with(1), with(3));
    }
}
