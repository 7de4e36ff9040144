//! Records the activations of a pass.

use burn::tensor::{Tensor, backend::Backend};

/// Records the activations of a pass, or ignores them.
pub struct Trace<B: Backend> {
    activations: Option<Vec<(String, Tensor<B, 4>)>>,
}

impl<B: Backend> Trace<B> {
    /// Records nothing, so that a backend can free each activation as soon as the next one is
    /// computed.
    pub fn off() -> Self {
        Self { activations: None }
    }

    /// Records every activation.
    pub fn recording() -> Self {
        Self { activations: Some(Vec::new()) }
    }

    /// Each layer calls this with each of its activations. `part` is the name of the activation
    /// below `layers.<index>`; it is empty if the layer has only one.
    pub fn record(&mut self, index: usize, part: &str, activation: &Tensor<B, 4>) {
        if let Some(activations) = &mut self.activations {
            let dot = if part.is_empty() { "" } else { "." };
            activations.push((format!("layers.{index}{dot}{part}"), activation.clone()));
        }
    }

    /// The recorded activations with their names, in the order of the calls.
    pub fn into_activations(self) -> Vec<(String, Tensor<B, 4>)> {
        self.activations.unwrap_or_default()
    }
}
