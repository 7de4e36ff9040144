//! Products in registers: a few rows of numbers by two registers of weights, summed in `f32`.
//!
//! What is multiplied is `f32`, or rounded to bfloat16: 8 bits of mantissa with the exponents of `f32`. Pairs
//! of those take one instruction for two products where the processor has it (AVX512-BF16).
//! Where not, they are multiplied as the `f32` numbers that they are; only the order of the sums
//! differs.

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::simd::LANES;

/// What the dense products of a pass back multiply; they add up in `f32` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Weights and gradients as they are.
    #[default]
    F32,
    /// Weights and gradients rounded to bfloat16, an error of at most 1/256 of each.
    Bf16,
}

/// Channels of a block of weights.
pub(super) const BLOCK: usize = 2 * LANES;

/// Rows whose sums are in registers together.
pub(super) const TOGETHER: usize = 8;

/// Sums of two registers for each row.
pub(super) type Sums<R> = [[R; 2]; TOGETHER];

/// How numbers are stored for a product.
pub(super) trait Format: Copy + Send + Sync {
    /// One number, or neighbours of a row that are multiplied together.
    type Number: Copy + Default + Send + Sync;

    /// How many of a row a [`Self::Number`] holds, a divisor of [`LANES`].
    const HELD: usize;

    /// Stores a row, a multiple of [`Self::HELD`], as the left side of a product.
    fn store(self, row: &[f32], to: &mut [Self::Number]);

    /// Stores rows of a [`BLOCK`], one for each number of a row on the left.
    fn block(self, rows: Vec<f32>) -> Vec<Self::Number>;

    /// Runs a task with the widest registers that there are.
    fn dispatch(self, task: impl Task<Self::Number>);
}

/// What is done with a product.
pub(super) trait Task<N> {
    /// Runs it; always inlined.
    fn run<P: Product<N>>(self, product: P);
}

/// A product on one instruction set.
pub(super) trait Product<N>: Copy {
    /// Sums, as many as there are of [`Self::LANES`].
    type Register: Copy;

    /// Channels of a register.
    const LANES: usize;

    /// Sums of nothing.
    fn zero(self) -> Sums<Self::Register>;

    /// Adds `values · weights` to the sums of two registers: `values` are rows of as many numbers as
    /// there are weight rows, `weights` rows of a [`BLOCK`], of which the two registers from `part`
    /// on are taken.
    fn multiply(
        self,
        sums: Sums<Self::Register>,
        values: [&[N]; TOGETHER],
        weights: &[N],
        part: usize,
    ) -> Sums<Self::Register>;

    /// Writes a register to the first [`Self::LANES`] numbers.
    fn write(self, register: Self::Register, to: &mut [f32]);
}

/// Numbers as they are, or rounded to bfloat16 first.
#[derive(Clone, Copy)]
pub(super) struct Single {
    pub rounded: bool,
}

impl Format for Single {
    type Number = f32;
    const HELD: usize = 1;

    fn store(self, row: &[f32], to: &mut [f32]) {
        match self.rounded {
            true => {
                to.iter_mut().zip(row).for_each(|(to, &x)| *to = f32::from_bits(half(x) << 16));
            }
            false => to.copy_from_slice(row),
        }
    }

    fn block(self, mut rows: Vec<f32>) -> Vec<f32> {
        if self.rounded {
            rows.iter_mut().for_each(|x| *x = f32::from_bits(half(*x) << 16));
        }
        rows
    }

    fn dispatch(self, task: impl Task<f32>) {
        struct Dispatch<T>(T);
        impl<T: Task<f32>> WithSimd for Dispatch<T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                self.0.run(Singles(simd));
            }
        }
        Arch::new().dispatch(Dispatch(task));
    }
}

/// A number rounded to bfloat16, ties to even, as the lower 16 bits.
#[inline(always)]
fn half(number: f32) -> u32 {
    let bits = number.to_bits();
    // What is not a number stays none, whatever its lower bits.
    let quiet = bits >> 16 | 0x40;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if number.is_nan() { quiet } else { rounded }
}

#[derive(Clone, Copy)]
struct Singles<S>(S);

impl<S: Simd> Product<f32> for Singles<S> {
    type Register = S::f32s;
    const LANES: usize = S::F32_LANES;

    #[inline(always)]
    fn zero(self) -> Sums<S::f32s> {
        [[self.0.splat_f32s(0.0); 2]; TOGETHER]
    }

    #[inline(always)]
    fn multiply(
        self,
        sums: Sums<S::f32s>,
        values: [&[f32]; TOGETHER],
        weights: &[f32],
        part: usize,
    ) -> Sums<S::f32s> {
        let simd = self.0;
        let add = |value, weights: [S::f32s; 2], [low, high]: [S::f32s; 2]| {
            let value = simd.splat_f32s(value);
            [simd.mul_add_f32s(value, weights[0], low), simd.mul_add_f32s(value, weights[1], high)]
        };
        walk(sums, values, (S::as_simd_f32s(weights).0, BLOCK / S::F32_LANES), part, add)
    }

    #[inline(always)]
    fn write(self, register: S::f32s, to: &mut [f32]) {
        S::as_mut_simd_f32s(to).0[0] = register;
    }
}

/// Walks over rows of numbers and of weights, which are `width` registers long. Sums go by value, so
/// that they stay in registers.
#[inline(always)]
fn walk<N: Copy, W: Copy, R: Copy>(
    mut sums: Sums<R>,
    values: [&[N]; TOGETHER],
    (weights, width): (&[W], usize),
    part: usize,
    add: impl Fn(N, [W; 2], [R; 2]) -> [R; 2],
) -> Sums<R> {
    const STRETCH: usize = 8;
    for (stretch, weights) in weights.chunks_exact(STRETCH * width).enumerate() {
        let values: [&[N; STRETCH]; TOGETHER] =
            std::array::from_fn(|row| &values[row].as_chunks().0[stretch]);
        for (at, weights) in weights.chunks_exact(width).enumerate() {
            let weights = [weights[part], weights[part + 1]];
            let [a, b, c, d, e, f, g, h] = sums;
            let [t, u, v, w, x, y, z, last] = values.map(|row| row[at]);
            sums = [
                add(t, weights, a),
                add(u, weights, b),
                add(v, weights, c),
                add(w, weights, d),
                add(x, weights, e),
                add(y, weights, f),
                add(z, weights, g),
                add(last, weights, h),
            ];
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
pub(super) use pairs::Pairs;

/// Pairs of bfloat16 with AVX512-BF16.
#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::{
        __m512, __m512bh, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    };
    use std::mem::transmute;

    use pulp::x86::V4;
    use pulp::{Simd, f32x16, u32x16};

    use super::{BLOCK, Format, Product, Sums, TOGETHER, Task, half, walk};

    /// Exists only where the processor has AVX-512 with bfloat16.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Pairs(V4);

    impl Pairs {
        /// Whether the processor has the instructions.
        pub fn detect() -> Option<Self> {
            if is_x86_feature_detected!("avx512bf16") { V4::try_new().map(Self) } else { None }
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
        fn run<T: Task<u32>>(self, task: T) {
            task.run(self);
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
        fn convert(self, row: &[f32], to: &mut [u32]) {
            let (rows, to) = (row.as_chunks::<BLOCK>().0, to.as_chunks_mut::<{ BLOCK / 2 }>().0);
            for (row, to) in rows.iter().zip(to) {
                // SAFETY: 32 numbers are two registers of 16, read from no aligned address; any 64
                // bytes are 16 words.
                *to = unsafe {
                    let (low, high) = (row.as_ptr(), row.as_ptr().add(BLOCK / 2));
                    transmute::<__m512bh, [u32; BLOCK / 2]>(_mm512_cvtne2ps_pbh(
                        _mm512_loadu_ps(high),
                        _mm512_loadu_ps(low),
                    ))
                };
            }
        }
    }

    impl Format for Pairs {
        type Number = u32;
        const HELD: usize = 2;

        fn store(self, row: &[f32], to: &mut [u32]) {
            // SAFETY: `detect` found the instructions.
            unsafe { self.convert(row, to) };
            let whole = row.len() / BLOCK * BLOCK;
            for (pair, to) in row[whole..].as_chunks().0.iter().zip(&mut to[whole / 2..]) {
                let [low, high]: [f32; 2] = *pair;
                *to = half(low) | half(high) << 16;
            }
        }

        fn block(self, rows: Vec<f32>) -> Vec<u32> {
            let mut block = Vec::with_capacity(rows.len() / 2);
            for two in rows.chunks_exact(2 * BLOCK) {
                let (low, high) = two.split_at(BLOCK);
                block
                    .extend(low.iter().zip(high).map(|(&low, &high)| half(low) | half(high) << 16));
            }
            block
        }

        fn dispatch(self, task: impl Task<u32>) {
            // SAFETY: `detect` found the instructions.
            unsafe { self.run(task) }
        }
    }

    impl Product<u32> for Pairs {
        type Register = f32x16;
        const LANES: usize = 16;

        #[inline(always)]
        fn zero(self) -> Sums<f32x16> {
            [[self.0.splat_f32s(0.0); 2]; TOGETHER]
        }

        #[inline(always)]
        fn multiply(
            self,
            sums: Sums<f32x16>,
            values: [&[u32]; TOGETHER],
            weights: &[u32],
            part: usize,
        ) -> Sums<f32x16> {
            let add = |value, weights: [u32x16; 2], sums: [f32x16; 2]| {
                let value = self.0.splat_u32s(value);
                // SAFETY: `detect` found the instruction; all types are 64 bytes of which any will do.
                let one = |weights, sum| unsafe {
                    transmute::<__m512, f32x16>(_mm512_dpbf16_ps(
                        transmute::<f32x16, __m512>(sum),
                        transmute::<u32x16, __m512bh>(value),
                        transmute::<u32x16, __m512bh>(weights),
                    ))
                };
                [one(weights[0], sums[0]), one(weights[1], sums[1])]
            };
            walk(sums, values, (V4::as_simd_u32s(weights).0, 2), part, add)
        }

        #[inline(always)]
        fn write(self, register: f32x16, to: &mut [f32]) {
            V4::as_mut_simd_f32s(to).0[0] = register;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of 8 rows by a block of weights.
    struct Multiply<'a, N> {
        rows: [&'a [N]; TOGETHER],
        weights: &'a [N],
        sums: &'a mut [[f32; BLOCK]; TOGETHER],
    }

    impl<N: Copy> Task<N> for Multiply<'_, N> {
        #[inline(always)]
        fn run<P: Product<N>>(self, product: P) {
            for part in (0..BLOCK / P::LANES).step_by(2) {
                let sums = product.multiply(product.zero(), self.rows, self.weights, part);
                for (to, sums) in self.sums.iter_mut().zip(sums) {
                    product.write(sums[0], &mut to[part * P::LANES..]);
                    product.write(sums[1], &mut to[(part + 1) * P::LANES..]);
                }
            }
        }
    }

    fn multiply<F: Format>(format: F, rows: &[f32], weights: &[f32]) -> [[f32; BLOCK]; TOGETHER] {
        let width = rows.len() / TOGETHER / F::HELD;
        let mut stored = vec![F::Number::default(); rows.len() / F::HELD];
        format.store(rows, &mut stored);
        let weights = format.block(weights.to_vec());
        let mut sums = [[0.0; BLOCK]; TOGETHER];
        let rows = std::array::from_fn(|row| &stored[row * width..][..width]);
        format.dispatch(Multiply { rows, weights: &weights, sums: &mut sums });
        sums
    }

    #[test]
    fn all_formats_multiply_small_whole_numbers_exactly() {
        const INNER: usize = 48;
        let numbers = |count: usize, by: usize| -> Vec<f32> {
            (0..count).map(|i| (i * by % 255) as f32 - 127.0).collect()
        };
        let (rows, weights) = (numbers(TOGETHER * INNER, 31), numbers(INNER * BLOCK, 17));
        let expected: [[f32; BLOCK]; TOGETHER] = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                (0..INNER).map(|k| rows[row * INNER + k] * weights[k * BLOCK + column]).sum()
            })
        });
        for rounded in [false, true] {
            assert_eq!(multiply(Single { rounded }, &rows, &weights), expected);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(pairs) = Pairs::detect() {
            assert_eq!(multiply(pairs, &rows, &weights), expected);
        }
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        let rounded = |number: f32| f32::from_bits(half(number) << 16);
        for (number, expected) in [
            (1.0, 1.0),
            (-3.140625, -3.140625),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (1.0 + 1.01 / 256.0, 1.0 + 2.0 / 256.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            assert_eq!(rounded(number), expected, "{number}");
        }
        assert!(rounded(f32::NAN).is_nan());
        assert!(rounded(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_processor_rounds_as_we_do() {
        let Some(pairs) = Pairs::detect() else { return };
        let row: Vec<f32> = (0..80).map(|i| (i as f32 - 37.3) * 1.37f32.powi(i - 40)).collect();
        let (mut found, mut rounded) = ([0; 40], [0.0; 80]);
        pairs.store(&row, &mut found);
        Single { rounded: true }.store(&row, &mut rounded);
        for (pair, expected) in found.iter().zip(rounded.as_chunks::<2>().0) {
            let pair = [pair << 16, pair & 0xffff_0000].map(f32::from_bits);
            assert_eq!(pair, *expected);
        }
    }
}
