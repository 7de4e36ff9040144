//! One `f32` at a time.

use pulp::{Simd, WithSimd};

use super::vectors::Vectors;
use super::{Format, Product, Registers, Task};
use lasnn_core::simd::vectors;

/// Numbers as they are, or rounded to bfloat16 first.
#[derive(Clone, Copy)]
pub(super) struct Single {
    pub rounded: bool,
}

impl Single {
    fn rounded(self, number: f32) -> f32 {
        if self.rounded { f32::from_bits(half(number) << 16) } else { number }
    }
}

impl Format for Single {
    type Number = f32;
    const HELD: usize = 1;

    fn number(self, first: f32, _: f32) -> f32 {
        self.rounded(first)
    }

    fn store(self, row: &[f32], to: &mut [f32]) {
        to.copy_from_slice(row);
        if self.rounded {
            to.iter_mut().for_each(|number| *number = self.rounded(*number));
        }
    }

    fn join(self, first: &[f32], _: &[f32], to: &mut [f32]) {
        self.store(first, to);
    }

    fn dispatch<T: Task<f32>>(self, task: T) -> T::Output {
        struct Dispatch<T>(T);
        impl<T: Task<f32>> WithSimd for Dispatch<T> {
            type Output = T::Output;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> T::Output {
                self.0.run(Vectors(simd))
            }
        }
        vectors().dispatch(Dispatch(task))
    }
}

/// A number rounded to bfloat16, ties to even, as the lower 16 bits.
#[inline(always)]
pub fn half(number: f32) -> u32 {
    let bits = number.to_bits();
    // What is not a number stays none, whatever its lower bits.
    let quiet = bits >> 16 | 0x40;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if number.is_nan() { quiet } else { rounded }
}

impl<S: Simd> Product<f32> for Vectors<S> {
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
