//! The numbers of a map that is kept from the way there to the way back.

use pulp::bytemuck::Pod;

use lasnn_gemm::product::{half, widened};

/// A number in memory: an `f32`, or the 16 bits of one that is rounded to bfloat16.
pub trait Kept: Pod + Default + Send + Sync {
    /// What stands for a number.
    fn keep(number: f32) -> Self;

    /// The number that it stands for.
    fn number(self) -> f32;
}

impl Kept for f32 {
    #[inline(always)]
    fn keep(number: f32) -> Self {
        number
    }

    #[inline(always)]
    fn number(self) -> f32 {
        self
    }
}

/// The bits of bfloat16.
impl Kept for u16 {
    #[inline(always)]
    fn keep(number: f32) -> Self {
        half(number) as u16
    }

    #[inline(always)]
    fn number(self) -> f32 {
        widened(self)
    }
}
