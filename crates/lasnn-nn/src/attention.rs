//! Attention maps of feature maps (Eq. 5-6 of the LaSNN paper).
//!
//! ```text
//! F(A) = (1/C) Σ_c |A_c|²
//! ```
//!
//! `A_c` is channel `c` of a feature map with `C` channels.

use burn::tensor::{Tensor, backend::Backend};

use crate::tapped::{Features, Taps};

/// The results of a forward pass for attention distillation.
#[derive(Clone, Debug)]
pub struct Attention<B: Backend> {
    /// Class scores before the softmax, `[batch, classes]`.
    pub logits: Tensor<B, 2>,
    /// The attention maps `[batch, 1, height, width]` of the feature maps at the taps.
    pub maps: Taps<B>,
}

impl<B: Backend> From<Features<B>> for Attention<B> {
    fn from(features: Features<B>) -> Self {
        let attend = |(tap, feature_map)| (tap, attention_map(feature_map));
        Self { logits: features.logits, maps: features.taps.into_iter().map(attend).collect() }
    }
}

/// The attention map F(A) of each feature map (Eq. 5-6): the mean of the squares over the channels.
///
/// # Shapes
///
/// - `features`: `[batch, channels, height, width]`
/// - result: `[batch, 1, height, width]`
pub fn attention_map<B: Backend>(features: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = features.dims();
    let mean = Tensor::full([batch, 1, channels], 1.0 / channels as f64, &features.device());
    let squares = features.clone().mul(features).reshape([batch, channels, height * width]);
    // A matrix product with the constant 1/C. Its gradient is a matrix product, too, while the
    // gradient of `mean_dim` is a broadcast, which is slow on CPU backends.
    mean.matmul(squares).reshape([batch, 1, height, width])
}
