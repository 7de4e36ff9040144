//! Event-driven sums of weights in bfloat16, two to a word.
//!
//! A bfloat16 number is the upper half of an `f32`. So a shift or a mask of a word makes an `f32`
//! of each of its two weights. A network of `f32` weights that were rounded before has the same
//! sums, bit by bit. The weights take half the memory, and a row takes half as many cache lines.
//! [`COLUMNS`] says which columns share a word.

use pulp::Simd;

use lasnn_core::vectorised;
use lasnn_gemm::product::pack_bf16;

use crate::event::simd::{COLUMNS, LANES, of_packed};

/// Packs a row of weights, a multiple of [`COLUMNS`] of them, into words.
pub(crate) fn pack_row(weights: &[f32], words: &mut [u32]) {
    vectorised! {
        fn pack<'a>(weights: &'a [f32], words: &'a mut [u32]) -> () {
            pack_row_inline(weights, words);
        }
    }
    pack(weights, words);
}

/// [`pack_row`] for callers that have selected an instruction set already.
#[inline(always)]
pub(crate) fn pack_row_inline(weights: &[f32], words: &mut [u32]) {
    let groups = words.as_chunks_mut::<LANES>().0.iter_mut().zip(weights.as_chunks::<COLUMNS>().0);
    for (words, weights) in groups {
        for lane in 0..LANES {
            words[lane] = pack_bf16(weights[lane], weights[lane + LANES]);
        }
    }
}

/// Rows of weights, as [`pack_row`] packs them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub words: &'a [u32],
    /// Weights in a row, a multiple of [`COLUMNS`].
    pub width: usize,
}

/// Adds `scale` times the rows that events name to `sum`.
///
/// Only the first `sum.len()` weights of each row are added, a multiple of [`COLUMNS`].
#[inline(always)]
pub(crate) fn add_rows<S: Simd>(
    simd: S,
    sum: &mut [f32],
    rows: Rows<'_>,
    events: &[u32],
    scale: f32,
) {
    let width = rows.width / 2 / S::U32_LANES;
    let words = S::as_simd_u32s(rows.words).0;
    let registers = sum.len() / 2 / S::U32_LANES;
    let sum = S::as_mut_simd_f32s(sum).0;
    let mut at = 0;
    while at < registers {
        let to = (&mut *sum, at);
        at += match registers - at {
            4.. => sum_registers::<S, 4>(simd, to, (words, width), events, scale),
            2.. => sum_registers::<S, 2>(simd, to, (words, width), events, scale),
            _ => sum_registers::<S, 1>(simd, to, (words, width), events, scale),
        };
    }
}

/// Sums `N` registers of words of each row, from register `at` on, and returns `N`.
#[inline(always)]
fn sum_registers<S: Simd, const N: usize>(
    simd: S,
    (sum, at): (&mut [S::f32s], usize),
    (words, width): (&[S::u32s], usize),
    events: &[u32],
    scale: f32,
) -> usize {
    let [shift, mask] = [16, 0xffff_0000].map(|word| simd.splat_u32s(word));
    let zero = simd.splat_f32s(0.0);
    let (mut low, mut high) = ([zero; N], [zero; N]);
    for &event in events {
        let row = &words[event as usize * width + at..][..N];
        for register in 0..N {
            let lower = simd.wrapping_dyn_shl_u32s(row[register], shift);
            let upper = simd.and_u32s(row[register], mask);
            low[register] = simd.add_f32s(low[register], simd.transmute_f32s_u32s(lower));
            high[register] = simd.add_f32s(high[register], simd.transmute_f32s_u32s(upper));
        }
    }
    let scale = simd.splat_f32s(scale);
    for register in 0..N {
        let sums = [low[register], high[register]];
        for (found, place) in sums.into_iter().zip(of_packed::<S>(at + register)) {
            sum[place] = simd.add_f32s(sum[place], simd.mul_f32s(found, scale));
        }
    }
    N
}
