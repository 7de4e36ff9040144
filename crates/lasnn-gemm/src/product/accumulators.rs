//! Vector registers of `f32` sums, and multiply-adds into them.

use pulp::Simd;

use super::BLOCK;

/// An inner loop in vector registers, generic over the instruction set. `N` is the
/// [`Element`](super::Format::Element) of a format.
pub trait Task<N> {
    /// The result.
    type Output;

    /// Runs the loop.
    ///
    /// Implementations must be `#[inline(always)]`. Otherwise the loop is compiled for the oldest
    /// processor, instead of the instruction set of `product`.
    fn run<P: Product<N>>(self, product: P) -> Self::Output;
}

/// Vector registers that hold `f32` sums, on one instruction set.
pub trait Accumulators: Copy {
    /// A register of [`LANES`](Self::LANES) sums.
    type Sums: Copy;

    /// The number of sums of a register. A register of elements has as many.
    const LANES: usize;

    /// The number of registers of the instruction set.
    const REGISTERS: usize;

    /// Sums that are zero.
    fn zero(self) -> Self::Sums;

    /// Reads the first [`LANES`](Self::LANES) sums.
    fn read(self, from: &[f32]) -> Self::Sums;

    /// Writes the first [`LANES`](Self::LANES) sums.
    fn write(self, sums: Self::Sums, to: &mut [f32]);

    /// Adds two registers of sums.
    fn add_sums(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;

    /// The sum over the lanes of each register.
    fn horizontal_sums(self, sums: [Self::Sums; 4]) -> [f32; 4];

    /// Distributes consecutive numbers over the lanes whose bit is set in `mask`, and writes zeros
    /// to the other lanes.
    ///
    /// `from` must be longer than the number of set bits, by [`LANES`](Self::LANES) at least.
    #[inline(always)]
    fn expand(self, mask: u32, from: &[f32], to: &mut [f32; BLOCK]) {
        *to = [0.0; BLOCK];
        let mut left = mask;
        for &number in &from[..mask.count_ones() as usize] {
            to[left.trailing_zeros() as usize % BLOCK] = number;
            left &= left.wrapping_sub(1);
        }
    }
}

/// A multiply-add of elements of type `N` into `f32` sums, on one instruction set.
pub trait Product<N>: Accumulators {
    /// A register of [`LANES`](Accumulators::LANES) elements.
    type Numbers: Copy;

    /// A register with `number` in all lanes.
    fn splat(self, number: N) -> Self::Numbers;

    /// Loads the first [`LANES`](Accumulators::LANES) elements.
    fn load(self, numbers: &[N]) -> Self::Numbers;

    /// Adds to each lane of `sums` the products of that lane: one product of `f32` elements, and
    /// two of packed bfloat16.
    fn add(self, a: Self::Numbers, b: Self::Numbers, sums: Self::Sums) -> Self::Sums;
}

/// The vectors of an instruction set of `pulp`.
///
/// The formats [`f32_format`](super::f32_format) and [`widened_bf16`](super::widened_bf16) add a
/// [`Product`] to it.
#[derive(Clone, Copy)]
pub(super) struct SimdAccumulators<S>(pub S);

impl<S: Simd> Accumulators for SimdAccumulators<S> {
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
    fn add_sums(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn horizontal_sums(self, [a, b, c, d]: [S::f32s; 4]) -> [f32; 4] {
        let Self(simd) = self;
        [
            simd.reduce_sum_f32s(a),
            simd.reduce_sum_f32s(b),
            simd.reduce_sum_f32s(c),
            simd.reduce_sum_f32s(d),
        ]
    }
}
