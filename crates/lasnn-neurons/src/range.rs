//! The ranges in which trained thresholds and leaks stay.

use burn::module::Param;
use burn::tensor::{Tensor, backend::Backend};

/// The least threshold that a training step leaves.
///
/// Gradients grow without bound as a threshold `v` approaches 0: that of a membrane potential has
/// the factor `1 / v`, and that of the threshold the factor `u / v²`. A negative threshold would
/// turn the reset into an excitation. With this least value the factors are at most `1e3` and
/// `1e6 u`, far from the largest numbers of `f32` and bfloat16. Balanced thresholds are of order 1,
/// so neurons that reach the least value fire at nearly every step anyway. The value is absolute
/// and not a share of the initial threshold, since a resumed training does not know the latter.
pub const LEAST_THRESHOLD: f32 = 1e-3;

/// The least and the largest leak that a training step leaves.
///
/// A leak above 1 lets the membrane potential grow exponentially; DIET-SNN (Rathi and Roy, 2020)
/// clamps at 1, too. The least value keeps the leak positive, as recipes do.
pub const LEAK_RANGE: [f32; 2] = [1e-3, 1.0];

/// A threshold that, if it is trained, is at least [`LEAST_THRESHOLD`].
pub(crate) fn constrained_threshold<B: Backend>(
    threshold: Param<Tensor<B, 1>>,
) -> Param<Tensor<B, 1>> {
    clamped(threshold, |all| all.clamp_min(LEAST_THRESHOLD))
}

/// A leak that, if it is trained, is in [`LEAK_RANGE`].
pub(crate) fn constrained_leak<B: Backend>(leak: Param<Tensor<B, 1>>) -> Param<Tensor<B, 1>> {
    let [least, most] = LEAK_RANGE;
    clamped(leak, |all| all.clamp(least, most))
}

/// A trained parameter after `clamp`, and any other parameter as it is.
fn clamped<B: Backend>(
    param: Param<Tensor<B, 1>>,
    clamp: impl FnOnce(Tensor<B, 1>) -> Tensor<B, 1>,
) -> Param<Tensor<B, 1>> {
    match param.is_require_grad() {
        // Without gradient in between, since the result must be a leaf of the graph.
        true => param.map(|all| clamp(all.set_require_grad(false)).require_grad()),
        false => param,
    }
}
