//! Attention maps of feature maps (Eq. 5-6 of the LaSNN paper).
//!
//! ```text
//! F(A) = (1/C) Σ_c |A_c|²
//! ```
//!
//! `A_c` is channel `c` of a feature map with `C` channels.

use burn::tensor::{Tensor, backend::Backend};

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
