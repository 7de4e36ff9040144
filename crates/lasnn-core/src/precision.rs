//! The number format of dense products.

use serde::{Deserialize, Serialize};

/// The format of the factors of dense products. Sums are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Weights, activations and gradients as they are.
    #[default]
    F32,
    /// Weights, activations and gradients rounded to bfloat16; the relative error of each is at
    /// most 1/256.
    Bf16,
}
