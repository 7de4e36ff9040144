//! Alignment of each time step with the mean logits of the time steps that predict the right class,
//! without a teacher: one term of the distillation of Yu et al. ("Efficient logit-based knowledge
//! distillation of deep spiking neural networks for full-range timestep deployment", 2025).
//!
//! ```text
//! R_b = { t : argmax_c z_t,b = y_b }
//! m_b = mean of z_t,b over t in R_b, or 0 if R_b is empty
//! L   = τ² mean_t,b KL(softmax(m_b / τ) ‖ softmax(z_t,b / τ))
//! ```
//!
//! The target `m` counts as a constant. Where no step is right, it gives all classes the same
//! probability, so the loss takes confidence away from wrong predictions.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Probes;
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::check::{LossError, Subject};
use crate::divergence::{check_temperature, scaled_divergence};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};
use crate::on::On;

/// Alignment of each time step with the mean logits of the time steps that predict the right class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CumulativeLogits {
    /// The temperature τ, by which the logits are divided.
    pub temperature: f64,
    /// The factor of the loss in the total.
    pub weight: f64,
}

impl Default for CumulativeLogits {
    fn default() -> Self {
        Self { temperature: 3.0, weight: 0.5 }
    }
}

impl Described for CumulativeLogits {
    const NAME: &'static str = "cumulative-logits";
    const ABOUT: &'static str =
        "Divergence of each time step from the mean logits of those steps that are right.";
    const SOURCE: &'static str =
        "Yu et al., Efficient logit-based knowledge distillation of deep spiking networks, 2025";
}

impl LossKind for CumulativeLogits {
    fn weight(&self) -> f64 {
        self.weight
    }

    fn uses_labels(&self) -> bool {
        true
    }

    fn needs_teacher(&self) -> bool {
        false
    }

    fn student_probes(&self) -> Probes {
        On::Step.probes()
    }

    fn check(&self, _: Subject<'_>, _: Option<Subject<'_>>) -> Result<(), LossError> {
        check_temperature(self.temperature)
    }
}

impl<B: Backend> StudentLoss<B> for CumulativeLogits {
    /// # Panics
    ///
    /// If the student has not returned the logits of each step.
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let rows = On::Step.logits(inputs);
        let target = mean_of_right_steps(rows.clone().detach(), inputs);
        let target = On::Step.repeat(target, inputs.time_steps);
        let value = scaled_divergence(target, rows, self.temperature);
        vec![LossPart { name: "cumulative_logits".into(), value }]
    }
}

/// The mean of the logits of those steps whose prediction is the label, `[batch, classes]`; zeros
/// where there is no such step. `rows` are the logits of each step and image, time-major.
fn mean_of_right_steps<B: Backend>(rows: Tensor<B, 2>, inputs: &LossInputs<'_, B>) -> Tensor<B, 2> {
    let (steps, [count, classes]) = (inputs.time_steps, rows.dims());
    let batch = count / steps;
    let labels = On::Step.targets(inputs).reshape([count, 1]);
    let is_right: Tensor<B, 2> = rows.clone().argmax(1).equal(labels).float();
    let sum = (rows * is_right.clone()).reshape([steps, batch * classes]).sum_dim(0);
    let right = is_right.reshape([steps, batch]).sum_dim(0).clamp_min(1.0);
    sum.reshape([batch, classes]) / right.reshape([batch, 1])
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;
    use lasnn_nn::Observations;

    use super::*;

    #[test]
    fn the_target_is_the_mean_of_the_right_steps() {
        let device = Default::default();
        // Of the first image, the steps 0 and 2 are right; of the second one, none is.
        let steps = [[[4.0, 1.0], [2.0, 0.0]], [[0.0, 3.0], [3.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]]];
        let rows = Tensor::<Flex, 3>::from_floats(steps, &device);
        let student = Observations {
            logits_by_step: Some(rows.clone()),
            ..Observations::new(Tensor::zeros([2, 2], &device))
        };
        let targets = Tensor::from_ints([0, 1], &device);
        let inputs =
            LossInputs { student: &student, teacher: None, targets: &targets, time_steps: 3 };
        let target = mean_of_right_steps(rows.flatten(0, 1), &inputs).into_data();
        assert_eq!(target.iter::<f32>().collect::<Vec<_>>(), [3.0, 0.5, 0.0, 0.0]);
    }
}
