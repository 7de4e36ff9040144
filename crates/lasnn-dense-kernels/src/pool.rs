//! Average and maximum pooling over windows that do not overlap, on planes
//! `[planes, height, width]`.
//!
//! Rows and columns at the edge that fill no window are ignored, as in PyTorch.

use rayon::prelude::*;

use lasnn_core::vectorised;

/// The sizes of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// The number of planes, images times channels.
    pub planes: usize,
    /// The number of rows of an input plane.
    pub height: usize,
    /// The number of columns of an input plane.
    pub width: usize,
    /// The number of rows and of columns of a window; at most `height` and `width`.
    pub size: usize,
}

impl PoolShape {
    /// The numbers of rows and columns of an output plane.
    pub fn output(&self) -> [usize; 2] {
        [self.height / self.size, self.width / self.size]
    }

    /// Calls `write` with the number and the elements of each plane of `planes`, which have `len`
    /// elements.
    fn for_each_plane(
        &self,
        (planes, len): (&mut [f32], usize),
        write: impl Fn(usize, &mut [f32]) + Send + Sync,
    ) {
        let planes = planes.par_chunks_mut(len.max(1)).with_min_len(16).enumerate();
        planes.for_each(|(number, plane)| write(number, plane));
    }

    fn check(&self, input: usize, output: usize) {
        let [rows, columns] = self.output();
        assert!(
            self.size > 0 && rows > 0 && columns > 0,
            "a window that is empty or larger than the plane: {self:?}"
        );
        assert_eq!(input, self.planes * self.height * self.width, "elements of {self:?}");
        assert_eq!(output, self.planes * rows * columns, "elements of the output of {self:?}");
    }
}

/// Writes the mean of each window to `output` `[planes, height / size, width / size]`.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn average(shape: PoolShape, input: &[f32], output: &mut [f32]) {
    shape.check(input.len(), output.len());
    let [rows, columns] = shape.output();
    shape.for_each_plane((output, rows * columns), |number, output| {
        let plane = &input[number * shape.height * shape.width..];
        average_plane(shape, plane, output);
    });
}

vectorised! {
    fn average_plane<'a>(shape: PoolShape, plane: &'a [f32], output: &'a mut [f32]) -> () {
        let share = 1.0 / (shape.size * shape.size) as f32;
        let bands = plane.chunks_exact(shape.width * shape.size);
        let [_, columns] = shape.output();
        for (output, band) in output.chunks_exact_mut(columns).zip(bands) {
            output.fill(0.0);
            for row in band.chunks_exact(shape.width) {
                if shape.size == 2 {
                    // The usual size. The compiler vectorises this loop.
                    for (output, [a, b]) in output.iter_mut().zip(row.as_chunks::<2>().0) {
                        *output += a + b;
                    }
                } else {
                    for (output, window) in output.iter_mut().zip(row.chunks_exact(shape.size)) {
                        *output += window.iter().sum::<f32>();
                    }
                }
            }
            output.iter_mut().for_each(|output| *output *= share);
        }
    }
}

/// Writes the gradient with respect to the input of [`average`], given the gradient with respect to
/// its output.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn average_backward(shape: PoolShape, output_grad: &[f32], input_grad: &mut [f32]) {
    shape.check(input_grad.len(), output_grad.len());
    let [rows, columns] = shape.output();
    let share = 1.0 / (shape.size * shape.size) as f32;
    shape.for_each_plane((input_grad, shape.height * shape.width), |number, plane| {
        let grads = &output_grad[number * rows * columns..][..rows * columns];
        // Elements that are in no window have gradient zero.
        plane.fill(0.0);
        let bands = plane.chunks_exact_mut(shape.width * shape.size);
        for (grads, band) in grads.chunks_exact(columns).zip(bands) {
            for row in band.chunks_exact_mut(shape.width) {
                for (window, &grad) in row.chunks_exact_mut(shape.size).zip(grads) {
                    window.fill(grad * share);
                }
            }
        }
    });
}

/// Writes the largest number of each window to `output` `[planes, height / size, width / size]`.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn maximum(shape: PoolShape, input: &[f32], output: &mut [f32]) {
    shape.check(input.len(), output.len());
    let [rows, columns] = shape.output();
    shape.for_each_plane((output, rows * columns), |number, output| {
        let plane = &input[number * shape.height * shape.width..];
        for (at, output) in output.iter_mut().enumerate() {
            *output = plane[shape.largest(plane, at)];
        }
    });
}

/// Writes the gradient with respect to the input of [`maximum`], given the gradient with respect to
/// its output. If several numbers of a window are largest, the first one gets the gradient.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn maximum_backward(
    shape: PoolShape,
    input: &[f32],
    output_grad: &[f32],
    input_grad: &mut [f32],
) {
    shape.check(input_grad.len(), output_grad.len());
    shape.check(input.len(), output_grad.len());
    let [rows, columns] = shape.output();
    shape.for_each_plane((input_grad, shape.height * shape.width), |number, target| {
        let plane = &input[number * shape.height * shape.width..];
        let grads = &output_grad[number * rows * columns..][..rows * columns];
        target.fill(0.0);
        for (at, &grad) in grads.iter().enumerate() {
            target[shape.largest(plane, at)] = grad;
        }
    });
}

impl PoolShape {
    /// The index in a plane of the largest number of window `at`, the first one if there are
    /// several.
    #[inline(always)]
    fn largest(&self, plane: &[f32], at: usize) -> usize {
        let columns = self.width / self.size;
        let start = (at / columns * self.width + at % columns) * self.size;
        let mut best = start;
        for row in 0..self.size {
            for index in (start + row * self.width..).take(self.size) {
                // NaN counts as larger than every number, as in PyTorch, so that it reaches the
                // loss.
                if plane[index] > plane[best] || (plane[index].is_nan() && !plane[best].is_nan()) {
                    best = index;
                }
            }
        }
        best
    }
}
