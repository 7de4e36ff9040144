//! Distillation losses.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_nn::{Attention, LossPart, Taps};

use crate::attention::attention_distance;
use crate::config::AttentionConfig;

/// A part of the loss with its weight.
#[derive(Clone, Debug)]
pub struct WeightedPart<B: Backend> {
    /// The part, before weighting.
    pub part: LossPart<B>,
    /// The factor of the part in the total loss.
    pub weight: f64,
}

/// A loss that compares the attention of a student with that of its teacher on the same images.
pub trait DistillationLoss<B: Backend> {
    /// The parts of the loss. `teacher` carries no gradient.
    fn parts(&self, student: &Attention<B>, teacher: &Attention<B>) -> Vec<WeightedPart<B>>;
}

/// The distance of activation-based attention maps at the configured taps (Eq. 7).
#[derive(Clone, Debug)]
pub struct AttentionLoss {
    config: AttentionConfig,
}

impl AttentionLoss {
    /// The loss of a configuration that has passed
    /// [`DistillationConfig::check`](crate::DistillationConfig::check).
    pub fn new(config: AttentionConfig) -> Self {
        Self { config }
    }
}

impl<B: Backend> DistillationLoss<B> for AttentionLoss {
    /// # Panics
    ///
    /// If a network lacks a configured tap.
    /// [`DistillationConfig::check`](crate::DistillationConfig::check) finds this before training.
    fn parts(&self, student: &Attention<B>, teacher: &Attention<B>) -> Vec<WeightedPart<B>> {
        let part = |&tap| {
            let at = |maps: &Taps<B>| -> Tensor<B, 4> { maps[&tap].clone() };
            let distance = self.config.distance;
            let value = attention_distance(at(&student.maps), at(&teacher.maps), distance);
            let part = LossPart { name: format!("attention_{tap}"), value };
            WeightedPart { part, weight: self.config.weight }
        };
        self.config.taps.iter().map(part).collect()
    }
}
