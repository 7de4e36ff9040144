//! The traits that a loss of the student implements.

use burn::tensor::{Int, Tensor, backend::Backend};
use lasnn_core::{Kind, Probes};
use lasnn_nn::{LossPart, Observations};

use crate::check::{LossError, Subject};

/// The words with which a list of losses describes one of them.
pub trait Described {
    /// The name in a recipe: the `kind` of an entry of `[[student.losses]]`.
    const NAME: &'static str;
    /// What the loss compares, in one sentence.
    const ABOUT: &'static str;
    /// The publication that has the loss.
    const SOURCE: &'static str;
}

/// The entry of the loss `L` in `lasnn list`.
pub(crate) const fn kind_of<L: Described>() -> Kind {
    Kind { name: L::NAME, about: L::ABOUT, source: L::SOURCE }
}

/// What is known about a loss before anything is computed.
pub trait LossKind {
    /// The factor of the loss in the total.
    fn weight(&self) -> f64;

    /// Whether the loss compares the student with the labels of the images.
    fn uses_labels(&self) -> bool;

    /// Whether the loss compares the student with a teacher.
    fn needs_teacher(&self) -> bool;

    /// What the student must return beside its logits.
    fn student_probes(&self) -> Probes;

    /// What the teacher must return beside its logits.
    fn teacher_probes(&self) -> Probes {
        Probes::NONE
    }

    /// Checks the loss's own numbers, and that it can compare the two networks. The weight, and
    /// whether the networks have the probes, are checked for every loss by
    /// [`check`](crate::check::check).
    ///
    /// # Errors
    ///
    /// Names the key, or the tap and the network.
    fn check(&self, student: Subject<'_>, teacher: Option<Subject<'_>>) -> Result<(), LossError> {
        let _ = (student, teacher);
        Ok(())
    }

    /// A remark about numbers that are allowed and unusual.
    fn note(&self) -> Option<String> {
        None
    }
}

/// A loss that the student minimises.
pub trait StudentLoss<B: Backend>: LossKind {
    /// The parts of the loss before weighting, each averaged over the batch.
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>>;
}

/// What a loss is computed from: one pass of each network on the same images.
#[derive(Clone, Debug)]
pub struct LossInputs<'a, B: Backend> {
    /// The student with the probes of all losses.
    pub student: &'a Observations<B>,
    /// The teacher, without gradient. `None` if no loss needs a teacher.
    pub teacher: Option<&'a Observations<B>>,
    /// The classes of the images, `[batch]`.
    pub targets: &'a Tensor<B, 1, Int>,
    /// The number of time steps of the student.
    pub time_steps: usize,
}

impl<'a, B: Backend> LossInputs<'a, B> {
    /// The teacher, for a loss that needs one.
    ///
    /// # Panics
    ///
    /// Panics if there is none. [`StudentObjective`](crate::StudentObjective) always has a teacher
    /// for a loss that needs one.
    pub fn teacher(&self) -> &'a Observations<B> {
        match self.teacher {
            Some(teacher) => teacher,
            None => unreachable!("a loss that needs a teacher has one"),
        }
    }
}
