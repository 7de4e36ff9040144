//! Where a network looks.
//!
//! ```text
//! F(A) = (1/C) Σ_c |A_c|²                                   (Eq. 5-6)
//! ```

use burn::tensor::{Tensor, backend::Backend};

use crate::tapped::{Features, Taps};

/// What a forward pass leaves for those who compare attention.
#[derive(Clone, Debug)]
pub struct Attention<B: Backend> {
    /// Class scores before the softmax, `[batch, classes]`.
    pub logits: Tensor<B, 2>,
    /// Attention maps `[batch, 1, height, width]` of the feature maps at the taps.
    pub maps: Taps<B>,
}

impl<B: Backend> From<Features<B>> for Attention<B> {
    fn from(features: Features<B>) -> Self {
        let maps = features.taps.into_iter().map(|(tap, maps)| (tap, attention_map(maps)));
        Self { logits: features.logits, maps: maps.collect() }
    }
}

/// The attention map F(A) of feature maps (Eq. 5-6).
///
/// # Shapes
///
/// - `features`: `[batch, channels, height, width]`
/// - output: `[batch, 1, height, width]`
pub fn attention_map<B: Backend>(features: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = features.dims();
    let mean = Tensor::full([batch, 1, channels], 1.0 / channels as f64, &features.device());
    let squares = features.clone().mul(features).reshape([batch, channels, height * width]);
    // A product, as its gradient is one too; a mean's is broadcast, number by number on a CPU.
    mean.matmul(squares).reshape([batch, 1, height, width])
}
