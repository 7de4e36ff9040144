//! The loops over the numbers of a plane.

use crate::stored_float::StoredFloat;
use lasnn_core::vectorised;

/// The number of partial sums. It is fixed, so that the order of additions does not depend on the
/// length of vectors.
const LANES: usize = 32;

vectorised! {
    /// The sum of a plane.
    pub fn sum<'a, N: StoredFloat>(plane: &'a [N]) -> f32 {
        let mut lanes = [0f32; LANES];
        let (whole, rest) = plane.as_chunks::<LANES>();
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane += value.to_f32();
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|value| value.to_f32()).sum::<f32>()
    }
}

vectorised! {
    /// The sum of `(x - mean)²` over a plane.
    pub fn squares<'a, N: StoredFloat>(plane: &'a [N], mean: f32) -> f32 {
        let square = |value: N| {
            let distance = value.to_f32() - mean;
            distance * distance
        };
        let mut lanes = [0f32; LANES];
        let (whole, rest) = plane.as_chunks::<LANES>();
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane += square(value);
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|&value| square(value)).sum::<f32>()
    }
}

/// `[mean, scale, shift]`, which stands for `(x - mean) · scale + shift`.
pub type Line = [f32; 3];

#[inline(always)]
fn on_line(x: f32, [mean, scale, shift]: Line) -> f32 {
    (x - mean) * scale + shift
}

/// A line that is positive everywhere, so that all gradients pass the ReLU.
pub fn open(mean: f32) -> Line {
    [mean, 0.0, f32::INFINITY]
}

/// The gradient with respect to the input of a ReLU. The line gives the same bits as in the forward
/// pass, so that exactly the gradients of positive outputs pass.
#[inline(always)]
fn relu_backward(x: f32, grad: f32, relu_line: Line) -> f32 {
    if on_line(x, relu_line) > 0.0 { grad } else { 0.0 }
}

vectorised! {
    /// `Σ dy` and `Σ dy · (x - mean)`, where `dy` is the gradient with respect to the input of the
    /// ReLU.
    pub fn correlate<'a, N: StoredFloat>(
        plane: &'a [N],
        grads: &'a [f32],
        relu_line: Line,
    ) -> [f32; 2] {
        let (mut sums, mut products) = ([0f32; LANES], [0f32; LANES]);
        let (planes, plane) = plane.as_chunks::<LANES>();
        let (all_grads, grads) = grads.as_chunks::<LANES>();
        // A separate loop over whole chunks keeps the sums in registers.
        for (x, grads) in planes.iter().zip(all_grads) {
            let lanes = sums.iter_mut().zip(&mut products);
            for ((sum, product), (x, &grad)) in lanes.zip(x.iter().zip(grads)) {
                let x = x.to_f32();
                let grad = relu_backward(x, grad, relu_line);
                *sum += grad;
                *product += grad * (x - relu_line[0]);
            }
        }
        for (at, (x, &grad)) in plane.iter().zip(grads).enumerate() {
            let x = x.to_f32();
            let grad = relu_backward(x, grad, relu_line);
            sums[at] += grad;
            products[at] += grad * (x - relu_line[0]);
        }
        [sums.iter().sum(), products.iter().sum()]
    }
}

vectorised! {
    /// Writes `factors[0] · dy + factors[1] · x + factors[2]`, with `dy` as in [`correlate`].
    pub fn combine<'a, N: StoredFloat>(
        plane: &'a [N],
        grads: &'a [f32],
        relu_line: Line,
        factors: [f32; 3],
        target: &'a mut [f32],
    ) -> () {
        let [by_grad, by_input, constant] = factors;
        for (target, (x, &grad)) in target.iter_mut().zip(plane.iter().zip(grads)) {
            let x = x.to_f32();
            *target = by_grad * relu_backward(x, grad, relu_line) + (by_input * x + constant);
        }
    }
}

vectorised! {
    /// Writes `(x - mean) · scale + shift`.
    pub fn affine<'a, N: StoredFloat>(
        plane: &'a [N],
        line: Line,
        relu: bool,
        target: &'a mut [f32],
    ) -> () {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        for (target, x) in target.iter_mut().zip(plane) {
            *target = on_line(x.to_f32(), line).max(floor);
        }
    }
}

vectorised! {
    /// Writes `(x - mean) · scale + shift + added`.
    pub fn affine_sum<'a, N: StoredFloat>(
        plane: &'a [N],
        added: &'a [f32],
        line: Line,
        relu: bool,
        target: &'a mut [f32],
    ) -> () {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        for (target, (x, &added)) in target.iter_mut().zip(plane.iter().zip(added)) {
            *target = (on_line(x.to_f32(), line) + added).max(floor);
        }
    }
}
