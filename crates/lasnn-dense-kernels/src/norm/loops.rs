//! The loops over a plane.

use super::super::kept::Kept;
use lasnn_core::vectorised;

/// Partial sums of this many neighbours, so that the order of additions does not depend on the
/// length of the machine's vectors.
const LANES: usize = 32;

vectorised! {
    /// The sum of a plane.
    pub fn sum<'a, N: Kept>(plane: &'a [N]) -> f32 {
        let mut lanes = [0f32; LANES];
        let (whole, rest) = plane.as_chunks::<LANES>();
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane += value.number();
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|value| value.number()).sum::<f32>()
    }
}

vectorised! {
    /// The sum of the squared distances from `mean`.
    pub fn squares<'a, N: Kept>(plane: &'a [N], mean: f32) -> f32 {
        let square = |value: N| {
            let distance = value.number() - mean;
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

/// `[mean, scale, shift]`, with which a number becomes `(x - mean) · scale + shift`.
pub type Line = [f32; 3];

#[inline(always)]
fn on_line(x: f32, [mean, scale, shift]: Line) -> f32 {
    (x - mean) * scale + shift
}

/// A gradient counts where the line is above zero, which is to the bit what the forward pass rectified.
pub type Gate = Line;

/// The relu_grad that lets everything through.
pub fn open(mean: f32) -> Gate {
    [mean, 0.0, f32::INFINITY]
}

#[inline(always)]
fn gated(x: f32, grad: f32, relu_grad: Gate) -> f32 {
    if on_line(x, relu_grad) > 0.0 { grad } else { 0.0 }
}

vectorised! {
    /// `Σ dy` and `Σ dy · (x - mean)`.
    pub fn correlate<'a, N: Kept>(plane: &'a [N], grads: &'a [f32], relu_grad: Gate) -> [f32; 2] {
        let (mut sums, mut products) = ([0f32; LANES], [0f32; LANES]);
        let (planes, plane) = plane.as_chunks::<LANES>();
        let (all_grads, grads) = grads.as_chunks::<LANES>();
        // Whole chunks apart from the rest, so that the sums stay in registers.
        for (x, grads) in planes.iter().zip(all_grads) {
            let lanes = sums.iter_mut().zip(&mut products);
            for ((sum, product), (x, &grad)) in lanes.zip(x.iter().zip(grads)) {
                let x = x.number();
                let grad = gated(x, grad, relu_grad);
                *sum += grad;
                *product += grad * (x - relu_grad[0]);
            }
        }
        for (at, (x, &grad)) in plane.iter().zip(grads).enumerate() {
            let x = x.number();
            let grad = gated(x, grad, relu_grad);
            sums[at] += grad;
            products[at] += grad * (x - relu_grad[0]);
        }
        [sums.iter().sum(), products.iter().sum()]
    }
}

vectorised! {
    /// `factors[0] · dy + factors[1] · x + factors[2]`
    pub fn combine<'a, N: Kept>(
        plane: &'a [N],
        grads: &'a [f32],
        relu_grad: Gate,
        factors: [f32; 3],
        target: &'a mut [f32],
    ) -> () {
        let [by_grad, by_input, constant] = factors;
        for (target, (x, &grad)) in target.iter_mut().zip(plane.iter().zip(grads)) {
            let x = x.number();
            *target = by_grad * gated(x, grad, relu_grad) + (by_input * x + constant);
        }
    }
}

vectorised! {
    /// `(x - mean) · scale + shift`
    pub fn affine<'a, N: Kept>(
        plane: &'a [N],
        line: Line,
        relu: bool,
        target: &'a mut [f32],
    ) -> () {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        for (target, x) in target.iter_mut().zip(plane) {
            *target = on_line(x.number(), line).max(floor);
        }
    }
}

vectorised! {
    /// `(x - mean) · scale + shift + added`
    pub fn affine_sum<'a, N: Kept>(
        plane: &'a [N],
        added: &'a [f32],
        line: Line,
        relu: bool,
        target: &'a mut [f32],
    ) -> () {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        for (target, (x, &added)) in target.iter_mut().zip(plane.iter().zip(added)) {
            *target = (on_line(x.number(), line) + added).max(floor);
        }
    }
}
