//! What pulls a student to its teacher.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_nn::{Attention, LossPart, Taps};

use crate::attention::attention_distance;
use crate::config::AttentionConfig;

/// A part of the loss with its weight in the sum.
#[derive(Clone, Debug)]
pub struct WeightedPart<B: Backend> {
    /// The part, before weighting.
    pub part: LossPart<B>,
    /// Its weight.
    pub weight: f64,
}

/// Compares where a student and its teacher look in the same images.
pub trait DistillationLoss<B: Backend> {
    /// The parts of the loss. `teacher` carries no gradient.
    fn parts(&self, student: &Attention<B>, teacher: &Attention<B>) -> Vec<WeightedPart<B>>;
}

/// Activation-based attention at the configured taps (Eq. 7).
#[derive(Clone, Debug)]
pub struct AttentionLoss {
    config: AttentionConfig,
}

impl AttentionLoss {
    /// The loss of a checked configuration.
    pub fn new(config: AttentionConfig) -> Self {
        Self { config }
    }
}

impl<B: Backend> DistillationLoss<B> for AttentionLoss {
    /// # Panics
    ///
    /// Panics if a network lacks a configured tap, which
    /// [`DistillationConfig::check`](crate::DistillationConfig::check) finds before training.
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
