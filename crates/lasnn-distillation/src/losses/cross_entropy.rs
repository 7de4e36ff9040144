//! Cross-entropy of the student's logits and the labels (Eq. 9).
//!
//! ```text
//! L = mean_b −log softmax(z_b)[y_b]
//! ```
//!
//! With [`On::Step`] the mean is over images and time steps, as in temporal efficient training
//! (Deng et al., 2022).

use burn::tensor::backend::Backend;
use lasnn_core::Probes;
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::loss::{Described, LossInputs, LossKind, StudentLoss};
use crate::on::On;

/// Cross-entropy of the student's logits and the labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {
    /// The logits of the student. The paper takes their sum, which has another temperature for
    /// every number of time steps.
    pub on: On,
    /// The factor of the loss in the total.
    pub weight: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self { on: On::Mean, weight: 1.0 }
    }
}

impl Described for CrossEntropy {
    const NAME: &'static str = "cross-entropy";
    const ABOUT: &'static str = "Cross-entropy of the student's logits and the labels.";
    const SOURCE: &'static str =
        "LaSNN, Eq. 4 and 9; by time step: Deng et al., Temporal efficient training, 2022";
}

impl LossKind for CrossEntropy {
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
        self.on.probes()
    }
}

impl<B: Backend> StudentLoss<B> for CrossEntropy {
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let value = lasnn_nn::cross_entropy(self.on.logits(inputs), self.on.targets(inputs));
        vec![LossPart { name: "cross_entropy".into(), value }]
    }
}
