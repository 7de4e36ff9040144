//! Watching the activations of a pass.

use burn::tensor::{Tensor, backend::Backend};

/// Collects the activations of a pass, or lets them go by.
pub struct Trace<B: Backend> {
    collected: Option<Vec<(String, Tensor<B, 4>)>>,
}

impl<B: Backend> Trace<B> {
    /// Keeps nothing, so that a backend can free each activation when the next one is there.
    pub fn nothing() -> Self {
        Self { collected: None }
    }

    /// Keeps every activation.
    pub fn everything() -> Self {
        Self { collected: Some(Vec::new()) }
    }

    /// Called by each layer with each of its activations, `part` being the name of the activation
    /// below `layers.<index>`, empty where a layer has one only.
    pub fn see(&mut self, index: usize, part: &str, activation: &Tensor<B, 4>) {
        if let Some(collected) = &mut self.collected {
            let dot = if part.is_empty() { "" } else { "." };
            collected.push((format!("layers.{index}{dot}{part}"), activation.clone()));
        }
    }

    /// What was kept, in the order in which it was seen.
    pub fn into_collected(self) -> Vec<(String, Tensor<B, 4>)> {
        self.collected.unwrap_or_default()
    }
}
