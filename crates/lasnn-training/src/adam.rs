//! Adam, AdamW and AMSGrad, as PyTorch's `Adam` and `AdamW`.
//!
//! With parameter θ, gradient g, weight decay λ, learning rate η and step t, counted from 1:
//!
//! ```text
//! θ ← θ - η λ θ  with decoupled decay,  g ← g + λ θ  without
//! m ← β₁ m + (1 - β₁) g
//! v ← β₂ v + (1 - β₂) g²
//! u ← max(u, v)  with AMSGrad,  v  without
//! θ ← θ - η / (1 - β₁ᵗ) · m / (√u / √(1 - β₂ᵗ) + ε)
//! ```
//!
//! AMSGrad takes the maximum before the bias correction, and ε is added after the square root and
//! the bias correction. Other implementations differ in both points.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{AdamStep, DenseBackend, ops};
use serde::{Deserialize, Serialize};

use crate::config::{check, not_negative, positive};
use crate::error::ConfigError;

/// The constants of Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// The initial learning rate η.
    pub learning_rate: f64,
    /// The decay β₁ of the mean gradient, 0 to below 1.
    #[serde(default = "default_beta1")]
    pub beta1: f64,
    /// The decay β₂ of the mean squared gradient, 0 to below 1.
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// The constant ε that keeps the division finite.
    #[serde(default = "default_epsilon")]
    pub epsilon: f64,
    /// The weight decay λ: a penalty on the squared norm of the parameters, unless it is decoupled.
    #[serde(default)]
    pub weight_decay: f64,
    /// Whether the decay is taken off the parameters themselves (AdamW; Loshchilov and Hutter,
    /// 2019).
    #[serde(default)]
    pub decoupled: bool,
    /// Whether the largest mean squared gradient so far is used (AMSGrad).
    #[serde(default)]
    pub amsgrad: bool,
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_epsilon() -> f64 {
    1e-8
}

/// The state of one parameter, flat tensors `[length]`.
#[derive(Clone, Debug)]
pub struct Moments<B: Backend> {
    /// The mean gradient m.
    pub mean: Tensor<B, 1>,
    /// The mean squared gradient v.
    pub square: Tensor<B, 1>,
    /// The largest v so far, u; AMSGrad only.
    pub max_square: Option<Tensor<B, 1>>,
}

impl Adam {
    /// The default constants with a learning rate.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            beta1: default_beta1(),
            beta2: default_beta2(),
            epsilon: default_epsilon(),
            weight_decay: 0.0,
            decoupled: false,
            amsgrad: false,
        }
    }

    /// Checks the constants.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let Self { learning_rate, beta1, beta2, epsilon, weight_decay, .. } = *self;
        check(positive(learning_rate), "optimizer.learning_rate", learning_rate, "above 0")?;
        check((0.0..1.0).contains(&beta1), "optimizer.beta1", beta1, "0 to below 1")?;
        check((0.0..1.0).contains(&beta2), "optimizer.beta2", beta2, "0 to below 1")?;
        check(positive(epsilon), "optimizer.epsilon", epsilon, "above 0")?;
        check(not_negative(weight_decay), "optimizer.weight_decay", weight_decay, "at least 0")
    }

    /// Step number `step`, counted from 1. Returns the new parameter and the new moments.
    ///
    /// # Shapes
    ///
    /// All tensors are `[length]`. `moments` is `None` at the first step.
    pub fn step<B: DenseBackend>(
        &self,
        learning_rate: f64,
        step: u64,
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        moments: Option<Moments<B>>,
    ) -> (Tensor<B, 1>, Moments<B>) {
        let zeros = || gradient.zeros_like();
        let Moments { mean, square, max_square } = moments.unwrap_or_else(|| Moments {
            mean: zeros(),
            square: zeros(),
            max_square: self.amsgrad.then(zeros),
        });
        let step = AdamStep {
            rate: learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            decoupled: self.decoupled,
            step,
        };
        let (parameter, [mean, square], max_square) =
            ops::adam(step, parameter, gradient, [mean, square], max_square);
        (parameter, Moments { mean, square, max_square })
    }
}
