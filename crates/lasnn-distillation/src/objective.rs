//! All losses of a student together (Eq. 8).

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, backend::AutodiffBackend};
use lasnn_core::{Mode, Pass, Probes};
use lasnn_nn::{Loss, LossPart, Objective, Observable};

use crate::check::{LossError, LossesError};
use crate::loss::LossInputs;
use crate::losses::LossConfig;

/// The objective of a student: L = Σ weight · part over the parts of all losses (Eq. 8).
///
/// The teacher is on the backend without autodiff, so nothing of its pass is in the graph of the
/// student. It runs only if a loss needs it, and gets the classes of the images, from which
/// gradient maps follow.
#[derive(Clone, Debug)]
pub struct StudentObjective<T> {
    losses: Vec<LossConfig>,
    teacher: Option<T>,
    time_steps: usize,
    student_probes: Probes,
    teacher_probes: Probes,
}

impl<T> StudentObjective<T> {
    /// The objective of a student that runs over `time_steps` time steps. The losses must have
    /// passed [`check`](crate::check::check).
    ///
    /// # Errors
    ///
    /// Names the first loss that needs a teacher if there is none.
    pub fn new(
        losses: &[LossConfig],
        teacher: Option<T>,
        time_steps: usize,
    ) -> Result<Self, LossesError> {
        let first = losses.iter().position(|loss| loss.as_kind().needs_teacher());
        if let (Some(index), None) = (first, &teacher) {
            let name = losses[index].name();
            return Err(LossesError::Loss { index, name, source: LossError::NoTeacher });
        }
        Ok(Self {
            losses: losses.to_vec(),
            teacher: teacher.filter(|_| first.is_some()),
            time_steps,
            student_probes: LossConfig::student_probes(losses),
            teacher_probes: LossConfig::teacher_probes(losses),
        })
    }
}

impl<B, M, T> Objective<B, M> for StudentObjective<T>
where
    B: AutodiffBackend,
    M: Observable<B>,
    T: Observable<B::InnerBackend>,
{
    /// Parts are named by their losses. The parts of the second loss of one kind end with `_2`, and
    /// so on.
    fn loss(
        &self,
        model: &M,
        images: Tensor<B, 4>,
        targets: Tensor<B, 1, Int>,
        pass: &Pass<'_>,
    ) -> Loss<B> {
        let teacher = self.teacher.as_ref().map(|teacher| {
            let evaluation = Pass { mode: Mode::Evaluate, ..*pass };
            let images = images.clone().inner();
            let targets = targets.clone().inner();
            let probes = &self.teacher_probes;
            teacher.observe_labelled(images, &targets, &evaluation, probes).constant::<B>()
        });
        let student = model.observe(images, pass, &self.student_probes);
        let inputs = LossInputs {
            student: &student,
            teacher: teacher.as_ref(),
            targets: &targets,
            time_steps: self.time_steps,
        };
        let mut total: Option<Tensor<B, 1>> = None;
        let mut parts = Vec::new();
        let mut count_by_kind = BTreeMap::new();
        for loss in &self.losses {
            let count = count_by_kind.entry(loss.name()).or_insert(0);
            *count += 1;
            let weight = loss.as_kind().weight();
            for LossPart { mut name, value } in loss.as_loss::<B>().parts(&inputs) {
                let weighted = value.clone() * weight;
                total = Some(match total {
                    Some(total) => total + weighted,
                    None => weighted,
                });
                if *count > 1 {
                    name = format!("{name}_{count}");
                }
                parts.push(LossPart { name, value });
            }
        }
        let total = total.unwrap_or_else(|| Tensor::zeros([1], &targets.device()));
        Loss { total, parts, logits: student.logits }
    }
}
