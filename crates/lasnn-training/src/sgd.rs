//! Stochastic gradient descent with momentum, as PyTorch's `SGD` with dampening 0.
//!
//! With parameter θ, gradient g, weight decay λ, momentum μ and learning rate η:
//!
//! ```text
//! g ← g + λ θ
//! b ← g at the first step, μ b + g afterwards
//! θ ← θ - η (g + μ b)  with Nesterov's momentum,  θ - η b  without
//! ```

use burn::tensor::Tensor;
use lasnn_backend::{DenseBackend, SgdStep, ops};
use serde::{Deserialize, Serialize};

use crate::config::{check, not_negative, positive};
use crate::error::ConfigError;

/// The constants of stochastic gradient descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// The initial learning rate η.
    pub learning_rate: f64,
    /// The momentum μ, 0 to below 1.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// The coupled weight decay λ: a penalty on the squared norm of the parameters.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: f64,
    /// Whether the momentum is Nesterov's.
    #[serde(default)]
    pub nesterov: bool,
}

fn default_momentum() -> f64 {
    0.9
}

fn default_weight_decay() -> f64 {
    5e-4
}

impl Sgd {
    /// The default constants with a learning rate.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            momentum: default_momentum(),
            weight_decay: default_weight_decay(),
            nesterov: false,
        }
    }

    /// Checks the constants.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let Self { learning_rate, momentum, weight_decay, nesterov } = *self;
        check(positive(learning_rate), "optimizer.learning_rate", learning_rate, "above 0")?;
        check((0.0..1.0).contains(&momentum), "optimizer.momentum", momentum, "0 to below 1")?;
        check(not_negative(weight_decay), "optimizer.weight_decay", weight_decay, "at least 0")?;
        check(
            !nesterov || momentum > 0.0,
            "optimizer.nesterov",
            nesterov,
            "false where the momentum is 0",
        )
    }

    /// One step. Returns the new parameter and the new momentum buffer (`None` without momentum).
    ///
    /// # Shapes
    ///
    /// All tensors are `[length]`. `buffer` is `None` at the first step.
    pub fn step<B: DenseBackend>(
        &self,
        learning_rate: f64,
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        buffer: Option<Tensor<B, 1>>,
    ) -> (Tensor<B, 1>, Option<Tensor<B, 1>>) {
        let buffer = match self.momentum {
            0.0 => None,
            _ => Some(buffer.unwrap_or_else(|| gradient.zeros_like())),
        };
        let step = SgdStep {
            rate: learning_rate,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            nesterov: self.nesterov,
        };
        ops::sgd(step, parameter, gradient, buffer)
    }
}
