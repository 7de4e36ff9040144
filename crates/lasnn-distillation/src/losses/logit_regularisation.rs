//! Regularisation of the logits of each time step: the second term of temporal efficient training
//! (Deng et al., "Temporal efficient training of spiking neural network via gradient re-weighting",
//! 2022).
//!
//! ```text
//! L = mean over steps, images and classes of (z − target)²
//! ```
//!
//! It prevents single time steps from having far larger logits than the others. The whole loss of
//! temporal efficient training with its factor λ is cross-entropy with [`On::Step`] and the weight
//! 1 − λ, and this loss with the weight λ.

use burn::tensor::backend::Backend;
use lasnn_core::Probes;
use lasnn_nn::{LossPart, batch_mean};
use serde::{Deserialize, Serialize};

use crate::check::{LossError, Subject};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};
use crate::on::On;

/// Regularisation of the logits of each time step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogitRegularisation {
    /// The value towards which each logit is pulled, one for all classes.
    pub target: f64,
    /// The factor of the loss in the total: λ of the paper.
    pub weight: f64,
}

impl Default for LogitRegularisation {
    fn default() -> Self {
        Self { target: 1.0, weight: 0.05 }
    }
}

impl Described for LogitRegularisation {
    const NAME: &'static str = "logit-regularisation";
    const ABOUT: &'static str =
        "Mean squared distance of the student's logits of each time step from one value.";
    const SOURCE: &'static str = "Deng et al., Temporal efficient training, 2022";
}

impl LossKind for LogitRegularisation {
    fn weight(&self) -> f64 {
        self.weight
    }

    fn uses_labels(&self) -> bool {
        false
    }

    fn needs_teacher(&self) -> bool {
        false
    }

    fn student_probes(&self) -> Probes {
        On::Step.probes()
    }

    fn check(&self, _: Subject<'_>, _: Option<Subject<'_>>) -> Result<(), LossError> {
        match self.target.is_finite() {
            true => Ok(()),
            false => Err(LossError::Value {
                key: "target",
                found: self.target.to_string(),
                expected: "a finite number",
            }),
        }
    }
}

impl<B: Backend> StudentLoss<B> for LogitRegularisation {
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let difference = On::Step.logits(inputs) - self.target;
        let value = batch_mean((difference.clone() * difference).mean_dim(1));
        vec![LossPart { name: "logit_regularisation".into(), value }]
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;

    #[test]
    fn the_target_is_a_finite_number() {
        let layers = vec![Layer::conv(2), Layer::Classifier { bias: false }];
        let image = Shape { channels: 1, height: 8, width: 8 };
        let plan = Architecture { name: "net".into(), layers }.plan(image, 10).unwrap();
        let check = |target| {
            let loss = LogitRegularisation { target, ..Default::default() };
            loss.check(Subject::spiking(&plan, 4), None).map_err(|error| error.to_string())
        };
        assert_eq!(check(-2.0), Ok(()));
        let text = check(f64::INFINITY).unwrap_err();
        assert_eq!(text, "`target` is inf, expected a finite number");
    }
}
