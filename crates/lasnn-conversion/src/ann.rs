//! What a conversion knows of the ordinary network.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Batch;
use lasnn_nn::StateDict;

/// The activations of the ordinary network for a batch, each `[batch, channels, height, width]`,
/// with the names of [`SpikingNetwork::neurons`](lasnn_snn::SpikingNetwork::neurons) and in their
/// order.
pub type Activations<B> = Vec<(String, Tensor<B, 4>)>;

/// The ordinary network.
pub struct Ann<'a, B: Backend> {
    /// Its tensors, with its batch norms folded into the convolutions before them
    /// ([`fold_batch_norm`](crate::fold_batch_norm)).
    pub tensors: &'a StateDict,
    /// What the batch norms were ([`batch_norms`](crate::batch_norms)); empty if there were none.
    pub norms: &'a Norms,
    /// Computes the activations for a batch.
    pub activations: &'a dyn Fn(&Batch) -> Activations<B>,
}

impl<'a, B: Backend> Ann<'a, B> {
    /// A network without batch norms.
    pub fn new(tensors: &'a StateDict, activations: &'a dyn Fn(&Batch) -> Activations<B>) -> Self {
        static NONE: Norms = Norms::new();
        Self { tensors, norms: &NONE, activations }
    }

    /// This network with batch norms that have been folded.
    pub fn with_norms(self, norms: &'a Norms) -> Self {
        Self { norms, ..self }
    }
}

// Derived, these would demand a backend that can be copied.
impl<B: Backend> Clone for Ann<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Ann<'_, B> {}

/// The trained scale and shift of a batch norm, one number for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// The standard deviation of a channel after the batch norm, `γ`.
    pub gamma: Vec<f32>,
    /// The mean of a channel after the batch norm, `β`.
    pub beta: Vec<f32>,
}

/// Batch norms by the names of the convolutions before them, for instance `layers.0` or
/// `layers.3.shortcut`.
pub type Norms = BTreeMap<String, Norm>;
