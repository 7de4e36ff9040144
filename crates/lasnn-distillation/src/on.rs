//! Which logits of the student a loss takes.

use burn::tensor::{Int, Tensor, backend::Backend};
use lasnn_core::{Probe, Probes};
use serde::{Deserialize, Serialize};

use crate::loss::LossInputs;

/// The logits (class scores) of the student that a loss takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// The mean current over the time steps: the temperature of the softmax is the same for every
    /// number of time steps.
    Mean,
    /// The membrane potential after the last step (Eq. 4): the mean current times the number of
    /// time steps.
    Sum,
    /// The current of each time step. The loss is averaged over the steps.
    Step,
}

impl On {
    /// What the student must return.
    pub fn probes(self) -> Probes {
        match self {
            Self::Mean | Self::Sum => Probes::NONE,
            Self::Step => Probes::from([Probe::LogitsByStep]),
        }
    }

    /// The logits of the student, `[rows, classes]`. There is one row for each image or, with
    /// [`On::Step`], for each time step and image, time-major.
    ///
    /// # Panics
    ///
    /// Panics if the student has not returned the [`probes`](Self::probes).
    pub fn logits<B: Backend>(self, inputs: &LossInputs<'_, B>) -> Tensor<B, 2> {
        let student = inputs.student;
        match (self, &student.logits_by_step) {
            (Self::Mean, _) => student.logits.clone(),
            (Self::Sum, _) => student.logits.clone() * inputs.time_steps as f64,
            (Self::Step, Some(logits)) => {
                let [steps, batch, classes] = logits.dims();
                logits.clone().reshape([steps * batch, classes])
            }
            (Self::Step, None) => unreachable!("the student returns the probes of its losses"),
        }
    }

    /// The class of each row of [`logits`](Self::logits), `[rows]`.
    pub fn targets<B: Backend>(self, inputs: &LossInputs<'_, B>) -> Tensor<B, 1, Int> {
        let (copies, [batch]) = (self.copies(inputs.time_steps), inputs.targets.dims());
        let targets = inputs.targets.clone().reshape([1, batch]);
        targets.expand([copies, batch]).reshape([copies * batch])
    }

    /// A value `[batch, classes]` of the teacher for each row of [`logits`](Self::logits),
    /// `[rows, classes]`.
    pub fn repeat<B: Backend>(self, values: Tensor<B, 2>, time_steps: usize) -> Tensor<B, 2> {
        let (copies, [batch, classes]) = (self.copies(time_steps), values.dims());
        let values = values.reshape([1, batch * classes]).expand([copies, batch * classes]);
        values.reshape([copies * batch, classes])
    }

    /// The number of rows of each image.
    fn copies(self, time_steps: usize) -> usize {
        match self {
            Self::Mean | Self::Sum => 1,
            Self::Step => time_steps,
        }
    }
}
