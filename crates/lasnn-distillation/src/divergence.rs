//! The divergence of class probabilities, or of attention maps, at a temperature.
//!
//! ```text
//! KL(p ‖ q) = Σ_c p_c log(p_c / q_c)    with p = softmax(target / τ), q = softmax(student / τ)
//! ```

use std::ops::RangeInclusive;

use burn::tensor::{Tensor, activation::log_softmax, backend::Backend};
use lasnn_nn::batch_mean;

use crate::check::LossError;

/// The mean of KL(p ‖ q) over the rows, without the factor τ². The gradient flows into both
/// arguments.
///
/// # Shapes
///
/// - `target`, `student`: `[rows, columns]`
/// - result: `[1]`
pub fn divergence<B: Backend>(
    target: Tensor<B, 2>,
    student: Tensor<B, 2>,
    temperature: f64,
) -> Tensor<B, 1> {
    let [target, student] = [target, student].map(|rows| log_softmax(rows / temperature, 1));
    // A difference of logarithms stays finite where probabilities round to 0.
    let divergence = target.clone().exp() * (target - student);
    batch_mean(divergence.sum_dim(1))
}

/// The same times τ², so that the gradient has one scale at every temperature (Hinton et al.,
/// 2015).
pub fn scaled_divergence<B: Backend>(
    target: Tensor<B, 2>,
    student: Tensor<B, 2>,
    temperature: f64,
) -> Tensor<B, 1> {
    divergence(target, student, temperature) * (temperature * temperature)
}

/// The range of temperatures. With others, the divided logits or the squared temperature would
/// overflow or vanish in single precision.
const TEMPERATURES: RangeInclusive<f64> = 1e-6..=1e6;

/// Checks that a temperature is in range.
///
/// # Errors
///
/// Names the key `temperature` and the value found.
pub fn check_temperature(temperature: f64) -> Result<(), LossError> {
    match TEMPERATURES.contains(&temperature) {
        true => Ok(()),
        false => Err(LossError::Value {
            key: "temperature",
            found: temperature.to_string(),
            expected: "a number above 0, from 1e-6 to 1e6",
        }),
    }
}
