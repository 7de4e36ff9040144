//! The format with one `f32` in each element.

use pulp::{Simd, WithSimd};

use super::accumulators::{Accumulators, Product, SimdAccumulators, Task};
use super::bf16::round_to_bf16;
use super::format::Format;
use lasnn_core::simd::vectors;

/// Elements are `f32`. If `rounded`, they are rounded to bfloat16 when they are packed, and
/// products are those of bfloat16 numbers.
#[derive(Clone, Copy)]
pub(super) struct F32Format {
    pub rounded: bool,
}

impl F32Format {
    fn round(self, number: f32) -> f32 {
        if self.rounded { round_to_bf16(number) } else { number }
    }
}

impl Format for F32Format {
    type Element = f32;
    const PACKED: usize = 1;

    fn pack(self, first: f32, _: f32) -> f32 {
        self.round(first)
    }

    fn pack_row(self, row: &[f32], to: &mut [f32]) {
        to.copy_from_slice(row);
        if self.rounded {
            to.iter_mut().for_each(|number| *number = self.round(*number));
        }
    }

    fn interleave(self, first: &[f32], _: &[f32], to: &mut [f32]) {
        self.pack_row(first, to);
    }

    fn dispatch<T: Task<f32>>(self, task: T) -> T::Output {
        struct Dispatch<T>(T);
        impl<T: Task<f32>> WithSimd for Dispatch<T> {
            type Output = T::Output;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> T::Output {
                self.0.run(SimdAccumulators(simd))
            }
        }
        vectors().dispatch(Dispatch(task))
    }
}

impl<S: Simd> Product<f32> for SimdAccumulators<S> {
    type Numbers = S::f32s;

    #[inline(always)]
    fn splat(self, number: f32) -> S::f32s {
        self.0.splat_f32s(number)
    }

    #[inline(always)]
    fn load(self, numbers: &[f32]) -> S::f32s {
        self.read(numbers)
    }

    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s, sums: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(a, b, sums)
    }
}
