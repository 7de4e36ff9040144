//! Self-distillation between time steps: the most and the least confident step of the student learn
//! from each other, without a teacher.
//!
//! ```text
//! confidence_t = mean_b max_c softmax(z_t,b)_c
//! s, w         = the steps of the largest and of the smallest confidence
//! L            = mean_b KL(softmax(z_s,b / τ) ‖ softmax(z_w,b / τ))        strong-to-weak
//! L            = mean_b KL(softmax(z_w,b / τ) ‖ softmax(z_s,b / τ))        weak-to-strong
//! ```
//!
//! The two steps are chosen once for the whole batch. As in the pseudocode of the publication (Ding
//! et al., "Synergy between the strong and the weak", 2025), there is no factor τ², and the
//! gradient flows into both steps.

use burn::tensor::{Tensor, activation::softmax, backend::Backend};
use lasnn_core::Probes;
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::check::{LossError, Subject};
use crate::divergence::{check_temperature, divergence};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};
use crate::on::On;

/// Which of the two time steps is the target of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The most confident step is the target of the least confident one.
    #[default]
    StrongToWeak,
    /// The least confident step is the target of the most confident one.
    WeakToStrong,
}

/// Self-distillation between the most and the least confident time step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepDistillation {
    /// Which of the two steps is the target of the other.
    pub direction: Direction,
    /// The temperature τ, by which the logits of both steps are divided. Confidence is measured
    /// without it.
    pub temperature: f64,
    /// Whether the target counts as a constant, so that only the other step learns.
    pub stop_gradient: bool,
    /// The factor of the loss in the total.
    pub weight: f64,
}

impl Default for StepDistillation {
    fn default() -> Self {
        Self {
            direction: Direction::StrongToWeak,
            temperature: 2.0,
            stop_gradient: false,
            weight: 1.0,
        }
    }
}

impl Described for StepDistillation {
    const NAME: &'static str = "step-distillation";
    const ABOUT: &'static str =
        "Divergence of the student's most and least confident time step, without a teacher.";
    const SOURCE: &'static str = "Ding et al., Synergy between the strong and the weak, 2025";
}

impl LossKind for StepDistillation {
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

    fn check(&self, student: Subject<'_>, _: Option<Subject<'_>>) -> Result<(), LossError> {
        check_temperature(self.temperature)?;
        match student.time_steps {
            Some(1) => Err(LossError::OneStep),
            _ => Ok(()),
        }
    }
}

impl<B: Backend> StudentLoss<B> for StepDistillation {
    /// # Panics
    ///
    /// If the student has not returned the logits of each step.
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let rows = On::Step.logits(inputs);
        let [count, classes] = rows.dims();
        let batch = count / inputs.time_steps;
        let confidence = softmax(rows.clone().detach(), 1).max_dim(1);
        let confidence = confidence.reshape([inputs.time_steps, batch]).mean_dim(1);
        let (strong, weak) = (confidence.clone().argmax(0), confidence.argmin(0));
        let by_step = rows.reshape([inputs.time_steps, batch, classes]);
        // The number of the step stays on the device, so nothing waits for it.
        let [strong, weak] = [strong, weak].map(|step| -> Tensor<B, 2> {
            by_step.clone().select(0, step.reshape([1])).squeeze_dim(0)
        });
        let (target, learner) = match self.direction {
            Direction::StrongToWeak => (strong, weak),
            Direction::WeakToStrong => (weak, strong),
        };
        let target = if self.stop_gradient { target.detach() } else { target };
        let value = divergence(target, learner, self.temperature);
        vec![LossPart { name: "step_distillation".into(), value }]
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;

    #[test]
    fn one_time_step_and_a_wrong_temperature_are_refused() {
        let layers = vec![Layer::conv(2), Layer::Classifier { bias: false }];
        let image = Shape { channels: 1, height: 8, width: 8 };
        let plan = Architecture { name: "net".into(), layers }.plan(image, 10).unwrap();
        let check = |temperature, time_steps| {
            let loss = StepDistillation { temperature, ..Default::default() };
            let checked = loss.check(Subject::spiking(&plan, time_steps), None);
            checked.map_or_else(|error| error.to_string(), |()| String::new())
        };
        assert_eq!(check(2.0, 2), "");
        assert!(check(2.0, 1).starts_with("`time_steps` is 1, expected at least 2"));
        assert!(check(0.0, 2).contains("`temperature` is 0, expected a number above 0"));
    }
}
