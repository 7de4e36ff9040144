//! The (leaky) integrate-and-fire neuron (Eq. 1 and 2 of the LaSNN paper).
//!
//! With the current `I^t`, the threshold `v` and the leak `λ`, from the initial membrane potential
//! `u^0`, which is 0 at rest, and `o^0 = 1 if u^0 > v, else 0`:
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
//!
//! The parameters have gradients, too. In the reset, the spike counts as a constant, but the
//! threshold that it subtracts does not (DIET-SNN):
//!
//! ```text
//! dL/dv   = Σ_t - g σ'(z^t) u^t / v² - δ^t o^{t-1}   the last term with the reset `subtract` only
//! dL/dλ   = Σ_t δ^t u^{t-1}                          times 1 - o^{t-1} with the reset `zero`
//! dL/du^0 = λ δ^1                                    times 1 - o^0 with the reset `zero`
//! ```
//!
//! `g` is the gradient with respect to the output that `u^t` decides.

mod layer;

use burn::tensor::backend::Backend;
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;
use serde::{Deserialize, Serialize};

pub use layer::Lif;

use crate::model::{NeuronError, NeuronKind, NeuronModel, TrainedParams, check_surrogate};
use crate::params::{
    InitialMembraneConfig, InitialMembranePer, LeakConfig, Sharing, ThresholdConfig, ThresholdPer,
};

/// (Leaky) integrate-and-fire neurons, as a recipe describes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifConfig {
    /// The leak λ of all layers; 1 makes the neurons integrate-and-fire.
    pub leak: LeakConfig,
    /// Which neurons share a threshold, and whether thresholds are trained.
    pub threshold: ThresholdConfig,
    /// The membrane potentials before the first step, in thresholds.
    pub initial_membrane: InitialMembraneConfig,
    /// The effect of a spike on the membrane potential.
    pub reset: Reset,
    /// Whether a step fires after or before it integrates its current.
    pub step_order: StepOrder,
    /// The surrogate derivative of a spike.
    pub surrogate: Surrogate,
}

impl LifConfig {
    /// Neurons without leak that start at rest.
    pub fn without_leak(options: NeuronOptions) -> Self {
        let NeuronOptions { reset, step_order, surrogate } = options;
        Self { leak: 1.0.into(), reset, step_order, surrogate, ..Self::default() }
    }
}

impl NeuronKind for LifConfig {
    const NAME: &'static str = "lif";
    const ABOUT: &'static str = "integrate-and-fire (IF) with `leak = 1.0`, else leaky (LIF)";
    const SOURCE: &'static str = "LaSNN, Eq. 1 and 2";

    type Neurons<B: Backend> = Lif<B>;

    fn options(&self) -> NeuronOptions {
        let Self { reset, step_order, surrogate, .. } = *self;
        NeuronOptions { reset, step_order, surrogate }
    }

    fn check(&self) -> Result<(), NeuronError> {
        // The kernels compute in single precision, so the numbers must be in range there, too.
        let leak = self.leak.value;
        if !(leak as f32 > 0.0 && leak <= 1.0) {
            let expected = "above 0 and at most 1";
            return Err(NeuronError { key: "leak", found: leak, expected });
        }
        let initial = self.initial_membrane.value;
        // A comparison with NaN is false.
        let is_in_range = initial.abs() <= MOST_INITIAL;
        if !is_in_range {
            let (key, expected) = ("initial_membrane.value", "-100 to 100, in thresholds");
            return Err(NeuronError { key, found: initial, expected });
        }
        check_surrogate(self.options())
    }

    fn init<B: Backend>(
        &self,
        threshold: f32,
        [channels, height, width]: [usize; 3],
        device: &B::Device,
    ) -> Lif<B> {
        let mut neurons = Lif::<B>::new(self, threshold, device);
        if self.threshold.per == ThresholdPer::Channel {
            neurons = neurons.with_thresholds(&vec![threshold; channels]);
        }
        if !self.initial_membrane.is_rest() {
            let count = match self.initial_membrane.per {
                InitialMembranePer::Layer => 1,
                InitialMembranePer::Neuron => channels * height * width,
            };
            let potential = self.initial_membrane.value as f32 * threshold;
            neurons = neurons.with_initial_membrane(&vec![potential; count]);
        }
        neurons.with_trained(self.trained())
    }

    fn trained(&self) -> TrainedParams {
        TrainedParams {
            threshold: self.threshold.train,
            leak: self.leak.train,
            initial_membrane: self.initial_membrane.train,
        }
    }

    fn is_fused(&self) -> bool {
        true
    }

    fn initial_membrane(&self) -> f64 {
        self.initial_membrane.value
    }

    fn sharing(&self) -> Sharing {
        let initial = self.initial_membrane;
        Sharing {
            threshold: self.threshold.per,
            initial_membrane: (!initial.is_rest()).then_some(initial.per),
        }
    }
}

/// The charge with which a neuron of the reset `subtract` begins the first step. A neuron that
/// starts above its threshold is reset once before the first step and sends no spike for it.
pub fn charge(potential: f32, threshold: f32) -> f32 {
    if potential > threshold { potential - threshold } else { potential }
}

/// The initial membrane potential that leads to a charge.
pub fn potential_of(charge: f32, threshold: f32) -> f32 {
    if charge > threshold { charge + threshold } else { charge }
}

/// The largest initial membrane potential, in thresholds.
const MOST_INITIAL: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_a_full_one_is_read() {
        assert_eq!(serde_json::from_str::<LifConfig>("{}").unwrap(), LifConfig::default());
        let text = r#"{"leak": 0.9, "reset": "zero", "step_order": "fire-then-integrate",
                       "surrogate": {"kind": "fast-sigmoid"}}"#;
        let expected = LifConfig {
            leak: 0.9.into(),
            reset: Reset::Zero,
            step_order: StepOrder::FireThenIntegrate,
            surrogate: Surrogate::FastSigmoid { slope: 10.0 },
            ..Default::default()
        };
        assert_eq!(serde_json::from_str::<LifConfig>(text).unwrap(), expected);
    }

    #[test]
    fn unknown_keys_and_impossible_numbers_are_errors() {
        let error = serde_json::from_str::<LifConfig>(r#"{"leek": 1.0}"#).unwrap_err();
        assert!(error.to_string().contains("leek"), "{error}");
        let error = LifConfig { leak: 1.5.into(), ..Default::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "`leak` is 1.5, expected above 0 and at most 1");
        let surrogate = Surrogate::Atan { alpha: f64::NAN };
        let error = LifConfig { surrogate, ..Default::default() }.check().unwrap_err();
        assert_eq!(error.key, "surrogate.alpha");
    }
}
