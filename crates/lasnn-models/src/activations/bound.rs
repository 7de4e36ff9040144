//! The upper bound of an activation, which each layer may train.

use burn::module::Param;
use burn::tensor::{Tensor, backend::Backend};

use super::ActivationError;

/// The least bound that a training step leaves. A layer with a bound of 0 or less would have no
/// gradient any more.
pub const LEAST_BOUND: f32 = 1e-3;

/// A bound `[1]`.
pub(super) fn init<B: Backend>(bound: f64, train: bool, device: &B::Device) -> Param<Tensor<B, 1>> {
    let bound = Tensor::<B, 1>::from_floats([bound as f32], device);
    Param::from_tensor(bound).set_require_grad(train)
}

/// Checks the bound of a recipe.
pub(super) fn check(bound: f64) -> Result<(), ActivationError> {
    // Networks compute in single precision, so the bound must be in range there, too.
    let single = bound as f32;
    match single > 0.0 && single.is_finite() {
        true => Ok(()),
        false => {
            Err(ActivationError { key: "bound", found: bound, expected: "above 0 and finite" })
        }
    }
}

/// A trained bound moved to at least [`LEAST_BOUND`]; others are left as they are.
pub(super) fn constrained<B: Backend>(bound: Param<Tensor<B, 1>>) -> Param<Tensor<B, 1>> {
    match bound.is_require_grad() {
        // Without gradient in between, since the result must be a leaf of the graph.
        true => bound.map(|bound: Tensor<B, 1>| {
            bound.set_require_grad(false).clamp_min(LEAST_BOUND).require_grad()
        }),
        false => bound,
    }
}
