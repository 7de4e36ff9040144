//! The few vector operations that the compiler does not find by itself.
//!
//! Everything here is inlined into a dispatch of `pulp`, which compiles it once for each
//! instruction set (AVX-512, AVX2, NEON, scalar) and chooses when the program runs. Sums are added up in the
//! order of the events whatever the width of the registers, so all instruction sets give the
//! same bits.

use pulp::{Simd, bytemuck};

/// Neurons in one word of spikes, and numbers in the widest register.
pub(super) const LANES: usize = 16;

/// The first `sum.len()` numbers of the rows of `matrix` named by `events`, each `offset` rows later,
/// added up into `sum`, times `scale`. Rows have `width` numbers; `width` and `sum.len()` are
/// multiples of [`LANES`].
#[inline(always)]
pub(super) fn add_rows<S: Simd>(
    simd: S,
    sum: &mut [f32],
    matrix: &[f32],
    width: usize,
    offset: usize,
    events: &[u32],
    scale: f32,
) {
    let matrix = S::as_simd_f32s(matrix).0;
    let sum = S::as_mut_simd_f32s(sum).0;
    let width = width / S::F32_LANES;
    let mut at = 0;
    while at < sum.len() {
        let left = sum.len() - at;
        let (sum, args) = (&mut sum[at..], (matrix, width, at + offset * width, events, scale));
        at += match left {
            8.. => add_columns::<S, 8>(simd, sum, args),
            4.. => add_columns::<S, 4>(simd, sum, args),
            2.. => add_columns::<S, 2>(simd, sum, args),
            _ => add_columns::<S, 1>(simd, sum, args),
        };
    }
}

/// [`add_rows`] for `N` registers of each row.
#[inline(always)]
fn add_columns<S: Simd, const N: usize>(
    simd: S,
    sum: &mut [S::f32s],
    (matrix, width, start, events, scale): (&[S::f32s], usize, usize, &[u32], f32),
) -> usize {
    let mut sums = [simd.splat_f32s(0.0); N];
    for &event in events {
        let start = event as usize * width + start;
        let row = &matrix[start..start + N];
        for lane in 0..N {
            sums[lane] = simd.add_f32s(sums[lane], row[lane]);
        }
    }
    let scale = simd.splat_f32s(scale);
    for lane in 0..N {
        sum[lane] = simd.add_f32s(sum[lane], simd.mul_f32s(sums[lane], scale));
    }
    N
}

/// Which of [`LANES`] neurons are above the threshold, neuron 0 in the lowest bit.
#[inline(always)]
pub(super) fn fired<S: Simd>(simd: S, u: &[f32; LANES], threshold: f32) -> u16 {
    let threshold = simd.splat_f32s(threshold);
    let mut bits = 0u16;
    for (register, &u) in S::as_simd_f32s(u).0.iter().enumerate() {
        let mask = simd.greater_than_f32s(u, threshold);
        bits |= lane_bits::<S>(&mask) << (register * S::F32_LANES);
    }
    bits
}

/// A mask as bits, lane 0 in the lowest: with AVX-512 it is one already, elsewhere it fills lanes.
#[inline(always)]
fn lane_bits<S: Simd>(mask: &S::m32s) -> u16 {
    let bytes = bytemuck::bytes_of(mask);
    if S::F32_LANES == 1 {
        return u16::from(bytes[0] & 1);
    }
    if bytes.len() * 8 == S::F32_LANES {
        return bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u16::from(byte));
    }
    let size = bytes.len() / S::F32_LANES;
    bytes.iter().step_by(size).rev().fold(0, |bits, &byte| bits << 1 | u16::from(byte & 1))
}

/// Asks for a number that is needed soon; does nothing where it is not there, or cannot be asked for.
#[inline(always)]
pub(super) fn prefetch(numbers: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(number) = numbers.get(at) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and cannot fault; the address is that of a number.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(number).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, at);
}
