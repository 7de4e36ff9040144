//! Weights rounded to bfloat16, two to a word, for lists of events.
//!
//! A number of bfloat16 is the upper half of an `f32`, so a shift or a mask makes one of each weight, and the
//! sums are, to the bit, those of `f32` weights that happen to be rounded. They take half the memory, and half as
//! many lines of the caches are read for a row. Words hold columns as [`COLUMNS`] says.

use pulp::Simd;

use crate::event::simd::{COLUMNS, LANES, of_packed};
use lasnn_core::vectorised;
use lasnn_gemm::product::pack_bf16;

/// Writes weights in rows of a multiple of [`COLUMNS`].
pub(crate) fn pack_row(weights: &[f32], words: &mut [u32]) {
    vectorised! {
        fn pack<'a>(weights: &'a [f32], words: &'a mut [u32]) -> () {
            pack_to(weights, words);
        }
    }
    pack(weights, words);
}

/// The same, where vectors are chosen already.
#[inline(always)]
pub(crate) fn pack_to(weights: &[f32], words: &mut [u32]) {
    let groups = words.as_chunks_mut::<LANES>().0.iter_mut().zip(weights.as_chunks::<COLUMNS>().0);
    for (words, weights) in groups {
        for lane in 0..LANES {
            words[lane] = pack_bf16(weights[lane], weights[lane + LANES]);
        }
    }
}

/// Rows of `width` weights, a multiple of [`COLUMNS`], as [`pack_row`] writes them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub words: &'a [u32],
    pub width: usize,
}

/// Adds the first `sum.len()` numbers, a multiple of [`COLUMNS`], of the rows that events name to
/// `sum`, times `scale`.
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
            4.. => columns::<S, 4>(simd, to, (words, width), events, scale),
            2.. => columns::<S, 2>(simd, to, (words, width), events, scale),
            _ => columns::<S, 1>(simd, to, (words, width), events, scale),
        };
    }
}

/// The sums of `N` registers of each row, from the `at`-th on.
#[inline(always)]
fn columns<S: Simd, const N: usize>(
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
        for lane in 0..N {
            let lower = simd.wrapping_dyn_shl_u32s(row[lane], shift);
            let upper = simd.and_u32s(row[lane], mask);
            low[lane] = simd.add_f32s(low[lane], simd.transmute_f32s_u32s(lower));
            high[lane] = simd.add_f32s(high[lane], simd.transmute_f32s_u32s(upper));
        }
    }
    let scale = simd.splat_f32s(scale);
    for lane in 0..N {
        for (found, place) in [low[lane], high[lane]].into_iter().zip(of_packed::<S>(at + lane)) {
            sum[place] = simd.add_f32s(sum[place], simd.mul_f32s(found, scale));
        }
    }
    N
}
