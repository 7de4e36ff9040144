//! The number format of dense products.

use serde::{Deserialize, Serialize};

/// The format of the factors of dense products. Sums are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Factors are not rounded.
    #[default]
    F32,
    /// Factors are rounded to bfloat16; the relative error of each rounding is at most 1/256.
    ///
    /// Which factors are rounded is described at
    /// [`Pass::with_precision`](crate::Pass::with_precision).
    Bf16,
}
