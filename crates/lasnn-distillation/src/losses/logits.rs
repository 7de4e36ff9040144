//! Distillation of the teacher's logits (Hinton et al., "Distilling the knowledge in a neural
//! network", 2015).
//!
//! ```text
//! L = τ² mean_b KL(softmax(z_teacher / τ) ‖ softmax(z_student / τ))
//! ```
//!
//! `KL(p ‖ q) = Σ_c p_c log(p_c / q_c)`. With [`On::Step`] the logits of each time step are
//! compared with the same logits of the teacher, and the mean is over images and time steps.

use burn::tensor::backend::Backend;
use lasnn_core::Probes;
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::check::{LossError, Subject};
use crate::divergence::{check_temperature, scaled_divergence};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};
use crate::on::On;

/// Distillation of the teacher's logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logits {
    /// The logits of the student. Those of the teacher are taken as they are.
    pub on: On,
    /// The temperature τ, by which the logits of both networks are divided.
    pub temperature: f64,
    /// The factor of the loss in the total.
    pub weight: f64,
}

impl Default for Logits {
    fn default() -> Self {
        Self { on: On::Mean, temperature: 4.0, weight: 1.0 }
    }
}

impl Described for Logits {
    const NAME: &'static str = "logits";
    const ABOUT: &'static str =
        "Divergence of the class probabilities of student and teacher at a temperature.";
    const SOURCE: &'static str =
        "Hinton et al., Distilling the knowledge in a neural network, 2015";
}

impl LossKind for Logits {
    fn weight(&self) -> f64 {
        self.weight
    }

    fn uses_labels(&self) -> bool {
        false
    }

    fn needs_teacher(&self) -> bool {
        true
    }

    fn student_probes(&self) -> Probes {
        self.on.probes()
    }

    fn check(&self, _: Subject<'_>, _: Option<Subject<'_>>) -> Result<(), LossError> {
        check_temperature(self.temperature)
    }
}

impl<B: Backend> StudentLoss<B> for Logits {
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let teacher = self.on.repeat(inputs.teacher().logits.clone(), inputs.time_steps);
        let value = scaled_divergence(teacher, self.on.logits(inputs), self.temperature);
        vec![LossPart { name: "logits".into(), value }]
    }
}
