//! Registers of `f32` sums, as wide as the processor has them.

use pulp::Simd;

use super::Registers;

/// What multiplies single numbers and, where no instruction does, pairs.
#[derive(Clone, Copy)]
pub(super) struct Vectors<S>(pub S);

impl<S: Simd> Registers for Vectors<S> {
    type Sums = S::f32s;
    const LANES: usize = S::F32_LANES;
    const REGISTERS: usize = S::REGISTER_COUNT;

    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    fn read(self, from: &[f32]) -> S::f32s {
        S::as_simd_f32s(&from[..S::F32_LANES]).0[0]
    }

    #[inline(always)]
    fn write(self, sums: S::f32s, to: &mut [f32]) {
        S::as_mut_simd_f32s(&mut to[..S::F32_LANES]).0[0] = sums;
    }

    #[inline(always)]
    fn both(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn totals(self, [a, b, c, d]: [S::f32s; 4]) -> [f32; 4] {
        let Self(simd) = self;
        [
            simd.reduce_sum_f32s(a),
            simd.reduce_sum_f32s(b),
            simd.reduce_sum_f32s(c),
            simd.reduce_sum_f32s(d),
        ]
    }
}
