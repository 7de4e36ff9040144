//! The number format of a feature map that is saved for the backward pass.

use pulp::bytemuck::Pod;

use lasnn_gemm::product::{bf16_bits, bf16_to_f32};

/// A number in memory: an `f32`, or the 16 bits of a bfloat16 number.
pub trait StoredFloat: Pod + Default + Send + Sync {
    /// The number of this type that is nearest to `number`.
    fn from_f32(number: f32) -> Self;

    /// The number as `f32`.
    fn to_f32(self) -> f32;
}

impl StoredFloat for f32 {
    #[inline(always)]
    fn from_f32(number: f32) -> Self {
        number
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

/// The bits of a bfloat16 number.
impl StoredFloat for u16 {
    #[inline(always)]
    fn from_f32(number: f32) -> Self {
        bf16_bits(number) as u16
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16_to_f32(self)
    }
}
