//! The neuron (Eq. 1 and 2 of the LaSNN paper).
//!
//! With the current `I^t`, the threshold `v` and the leak `λ`, from rest `u^0 = 0`, `o^0 = 0`:
//!
//! ```text
//! u^t = λ u^{t-1} + I^t - v o^{t-1}        reset `subtract`
//! u^t = λ u^{t-1} (1 - o^{t-1}) + I^t      reset `zero`
//! o^t = 1 if u^t > v, else 0
//! s^t = o^t                                step order `integrate-then-fire`
//! s^t = o^{t-1}                            step order `fire-then-integrate`
//! ```
//!
//! `s` is the neuron's output. The reset acts one step after the spike and is not leaked, as in the
//! paper's equation. Because `o` follows from `u`, the membrane potential is the whole state.
//!
//! The backward pass goes back through time. With the gradient `g^t` of the loss `L` with respect
//! to `s^t`, the surrogate derivative `σ'`, `z = u / v - 1`, and no gradient through the reset, the
//! gradient `δ^t = dL/du^t` with respect to the membrane potential is:
//!
//! ```text
//! δ^t = g^t     σ'(z^t) / v + λ δ^{t+1}    `integrate-then-fire`
//! δ^t = g^{t+1} σ'(z^t) / v + λ δ^{t+1}    `fire-then-integrate`, with g^{T+1} = 0
//! dL/dI^t = δ^t
//! ```
//!
//! With the reset `zero`, `λ δ^{t+1}` is multiplied by `1 - o^t`. After the last step,
//! `δ^{T+1} = 0`.

use serde::{Deserialize, Serialize};

use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;

/// The neurons of a network, as a recipe describes them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeuronConfig {
    /// The factor `λ` by which the membrane potential decays in a step; above 0 and at most 1. With
    /// 1 the neuron is an integrate-and-fire (IF) neuron, below 1 a leaky one (LIF).
    pub leak: f64,
    /// The effect of a spike on the membrane potential.
    pub reset: Reset,
    /// Whether a step fires after or before it integrates its current.
    pub step_order: StepOrder,
    /// The surrogate derivative of a spike.
    pub surrogate: Surrogate,
}

impl Default for NeuronConfig {
    fn default() -> Self {
        let NeuronOptions { reset, step_order, surrogate } = NeuronOptions::default();
        Self { leak: 1.0, reset, step_order, surrogate }
    }
}

impl NeuronConfig {
    /// The options without the leak, which is a tensor on the device.
    pub fn options(&self) -> NeuronOptions {
        let Self { reset, step_order, surrogate, .. } = *self;
        NeuronOptions { reset, step_order, surrogate }
    }

    /// Checks the ranges of all numbers.
    ///
    /// # Errors
    ///
    /// Returns the first number that is out of range, with its key, its value and the range.
    pub fn check(&self) -> Result<(), NeuronError> {
        // The kernels compute in single precision, so the numbers must be in range there, too.
        if !(self.leak as f32 > 0.0 && self.leak <= 1.0) {
            return Err(NeuronError {
                key: "leak",
                found: self.leak,
                expected: "above 0 and at most 1",
            });
        }
        let (key, found) = self.surrogate.parameter();
        let single = found as f32;
        if !(single > 0.0 && single.is_finite() && (1.0 / single).is_finite()) {
            return Err(NeuronError { key, found, expected: "above 0 and finite" });
        }
        Ok(())
    }
}

/// A number of a [`NeuronConfig`] that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{key}` is {found}, expected {expected}")]
pub struct NeuronError {
    /// The key in the recipe.
    pub key: &'static str,
    /// The number found.
    pub found: f64,
    /// The range that was expected.
    pub expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_a_full_one_is_read() {
        assert_eq!(serde_json::from_str::<NeuronConfig>("{}").unwrap(), NeuronConfig::default());
        let text = r#"{"leak": 0.9, "reset": "zero", "step_order": "fire-then-integrate",
                       "surrogate": {"kind": "fast-sigmoid"}}"#;
        let expected = NeuronConfig {
            leak: 0.9,
            reset: Reset::Zero,
            step_order: StepOrder::FireThenIntegrate,
            surrogate: Surrogate::FastSigmoid { slope: 10.0 },
        };
        assert_eq!(serde_json::from_str::<NeuronConfig>(text).unwrap(), expected);
    }

    #[test]
    fn unknown_keys_and_impossible_numbers_are_errors() {
        let error = serde_json::from_str::<NeuronConfig>(r#"{"leek": 1.0}"#).unwrap_err();
        assert!(error.to_string().contains("leek"), "{error}");
        let error = NeuronConfig { leak: 1.5, ..Default::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "`leak` is 1.5, expected above 0 and at most 1");
        let surrogate = Surrogate::Atan { alpha: f64::NAN };
        let error = NeuronConfig { surrogate, ..Default::default() }.check().unwrap_err();
        assert_eq!(error.key, "surrogate.alpha");
    }
}
