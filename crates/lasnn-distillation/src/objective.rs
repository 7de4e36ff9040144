//! Cross-entropy and distillation together (Eq. 8).

use burn::tensor::{Int, Tensor, backend::AutodiffBackend};
use lasnn_core::{Mode, Pass};
use lasnn_nn::{Attention, Loss, LossPart, Objective, Tapped, cross_entropy};

use crate::config::DistillationConfig;
use crate::loss::{AttentionLoss, DistillationLoss};

/// The objective of stage 3: L = L_CE + Σ weight · part (Eq. 8).
///
/// The teacher is on the backend without autodiff, so its pass cannot record a graph.
#[derive(Clone, Debug)]
pub struct Distillation<T> {
    teacher: T,
    loss: AttentionLoss,
}

impl<T> Distillation<T> {
    /// The objective of a student that learns from `teacher`.
    pub fn new(teacher: T, config: &DistillationConfig) -> Self {
        let DistillationConfig::Attention(config) = config;
        Self { teacher, loss: AttentionLoss::new(config.clone()) }
    }
}

impl<B, M, T> Objective<B, M> for Distillation<T>
where
    B: AutodiffBackend,
    M: Tapped<B>,
    T: Tapped<B::InnerBackend>,
{
    fn loss(
        &self,
        model: &M,
        images: Tensor<B, 4>,
        targets: Tensor<B, 1, Int>,
        pass: &Pass<'_>,
    ) -> Loss<B> {
        let evaluation = Pass { mode: Mode::Evaluate, ..*pass };
        let teacher = constant(self.teacher.attention(images.clone().inner(), &evaluation));
        let student = model.attention(images, pass);
        let cross_entropy = cross_entropy(student.logits.clone(), targets);
        let mut total = cross_entropy.clone();
        let mut parts = vec![LossPart { name: "cross_entropy".into(), value: cross_entropy }];
        for weighted in self.loss.parts(&student, &teacher) {
            total = total + weighted.part.value.clone() * weighted.weight;
            parts.push(weighted.part);
        }
        Loss { total, parts, logits: student.logits }
    }
}

/// Moves the teacher's attention to the student's backend, as constants without gradient.
fn constant<B: AutodiffBackend>(attention: Attention<B::InnerBackend>) -> Attention<B> {
    let maps = attention.maps.into_iter().map(|(tap, map)| (tap, Tensor::from_inner(map)));
    Attention { logits: Tensor::from_inner(attention.logits), maps: maps.collect() }
}
