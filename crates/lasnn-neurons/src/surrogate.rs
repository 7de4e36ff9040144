//! The surrogate derivatives of [`Surrogate`], on tensors.

use std::f64::consts::FRAC_PI_2;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::surrogate::Surrogate;

/// The surrogate derivative `σ'(z)` of every element of `z`, in Burn's operations.
///
/// It divides instead of calling `recip`, which has an error of 3e-5 on NdArray.
pub fn derivative<B: Backend, const D: usize>(
    surrogate: Surrogate,
    z: Tensor<B, D>,
) -> Tensor<B, D> {
    match surrogate {
        Surrogate::Linear { damping } => (-z.abs() + 1.0).clamp_min(0.0) * damping,
        Surrogate::Atan { alpha } => {
            let x = z * (FRAC_PI_2 * alpha);
            x.full_like(alpha / 2.0) / (x.clone() * x + 1.0)
        }
        Surrogate::FastSigmoid { slope } => {
            let x = z.abs() * slope + 1.0;
            x.ones_like() / (x.clone() * x)
        }
        Surrogate::Rectangular { width } => {
            let inside = z.clone().abs().lower_elem(width / 2.0);
            z.zeros_like().mask_fill(inside, 1.0 / width)
        }
    }
}
