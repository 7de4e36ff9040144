//! Weights in the order in which the kernels read them, shared by many passes.
//!
//! Without them, each pass packs its weights itself. That is a small part of a training step, but a
//! large part of a single inference.

use crate::event::weights::{WeightFormat, Weights};

/// The packed weights of a graph. [`PackedWeights::new`] packs them.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    /// By index of the weights.
    pub(crate) weights: Vec<Weights>,
    pub(crate) format: WeightFormat,
}

impl PackedWeights {
    /// The format of the weights.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The packed weights with an index.
    pub(crate) fn weight(&self, weight: usize) -> &Weights {
        &self.weights[weight]
    }
}
