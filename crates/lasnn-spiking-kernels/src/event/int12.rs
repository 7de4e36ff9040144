//! Event-driven sums of weights that are integers of 12 bits, two to a word.
//!
//! Each column of a matrix has a scale, a power of two, and its weights are rounded to multiples of
//! the scale. So such a network equals a network of rounded `f32` weights. Its sums are whole
//! numbers, so the order of additions changes no bit. The weights take half the memory of `f32`,
//! and one instruction adds twice as many of them.
//!
//! A word holds two columns, as [`COLUMNS`] says. Each half is raised by [`BIAS`], so that no half
//! is negative and the sum of [`GROUP`] words carries nothing from the lower into the upper half.

use pulp::Simd;

use crate::event::simd::{COLUMNS, LANES, of_packed};

/// A weight of 0 is stored as this number.
const BIAS: u32 = 1 << 11;

/// The largest multiple of a scale.
const LARGEST: f32 = (BIAS - 1) as f32;

/// `2^23`, and its bits as an `f32`. The mantissa of an `f32` from `2^23` on is a whole number.
const MAGIC_VALUE: u32 = 1 << 23;
const MAGIC: u32 = 0x4b00_0000;

/// The number of words of 12 bits whose sum fits into 16 bits.
const GROUP: usize = 16;

/// The number of weights whose sum is below `2^23`, so that the mantissa of an `f32` holds it.
const CHUNK: usize = 2048;

/// The scales of `columns` columns with these rows. Rows may be shorter than `columns`.
pub(crate) fn scales<'a>(rows: impl Iterator<Item = &'a [f32]>, columns: usize) -> Vec<f32> {
    let mut largest = vec![0.0; columns];
    for row in rows {
        for (largest, &weight) in largest.iter_mut().zip(row) {
            *largest = larger(*largest, weight);
        }
    }
    largest.into_iter().map(column_scale).collect()
}

/// The weight after rounding to a multiple of `scale`.
pub(crate) fn rounded(weight: f32, scale: f32) -> f32 {
    multiple(weight, scale) * scale
}

/// Packs rows of weights into words. A row has `scales.len()` weights, a multiple of [`COLUMNS`].
pub(crate) fn pack(rows: &[f32], scales: &[f32], packed: &mut [u32]) {
    let width = scales.len();
    let rows = rows.chunks_exact(width).zip(packed.chunks_exact_mut(width / 2));
    for (row, packed) in rows {
        let groups = row.chunks_exact(COLUMNS).zip(scales.chunks_exact(COLUMNS));
        for ((row, scales), packed) in groups.zip(packed.chunks_exact_mut(LANES)) {
            for (lane, word) in packed.iter_mut().enumerate() {
                let half = |lane: usize| (multiple(row[lane], scales[lane]) + BIAS as f32) as u32;
                *word = half(lane) | half(lane + LANES) << 16;
            }
        }
    }
}

/// Rows of weights, as [`pack`] packs them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub words: &'a [u32],
    /// By column.
    pub scales: &'a [f32],
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
    let width = rows.scales.len() / 2 / S::U32_LANES;
    let words = S::as_simd_u32s(rows.words).0;
    let scales = S::as_simd_f32s(rows.scales).0;
    let registers = sum.len() / 2 / S::U32_LANES;
    let sum = S::as_mut_simd_f32s(sum).0;
    let mut at = 0;
    while at < registers {
        let to = (&mut *sum, scales, at);
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
    (sum, scales, at): (&mut [S::f32s], &[S::f32s], usize),
    (words, width): (&[S::u32s], usize),
    events: &[u32],
    scale: f32,
) -> usize {
    let [zero, mask, half, magic] = [0, 0xffff, 16, MAGIC].map(|word| simd.splat_u32s(word));
    let scale = simd.splat_f32s(scale);
    for chunk in events.chunks(CHUNK) {
        let (mut low, mut high) = ([zero; N], [zero; N]);
        for group in chunk.chunks(GROUP) {
            let mut sums = [zero; N];
            for &event in group {
                let row = &words[event as usize * width + at..][..N];
                for register in 0..N {
                    sums[register] = simd.add_u32s(sums[register], row[register]);
                }
            }
            for register in 0..N {
                let lower = simd.and_u32s(sums[register], mask);
                let upper = simd.wrapping_dyn_shr_u32s(sums[register], half);
                low[register] = simd.add_u32s(low[register], lower);
                high[register] = simd.add_u32s(high[register], upper);
            }
        }
        let bias = simd.splat_f32s((MAGIC_VALUE + BIAS * chunk.len() as u32) as f32);
        for register in 0..N {
            let wholes = [low[register], high[register]];
            for (whole, place) in wholes.into_iter().zip(of_packed::<S>(at + register)) {
                let number = simd.transmute_f32s_u32s(simd.or_u32s(whole, magic));
                let number = simd.sub_f32s(number, bias);
                let number = simd.mul_f32s(number, simd.mul_f32s(scales[place], scale));
                sum[place] = simd.add_f32s(sum[place], number);
            }
        }
    }
    N
}

/// The scale of a column whose largest magnitude is `largest`: the smallest power of two of which
/// at most [`LARGEST`] make that magnitude. It is NaN if `largest` is not finite, so that the fault
/// of the weights shows in the sums.
fn column_scale(largest: f32) -> f32 {
    if !largest.is_finite() {
        return f32::NAN;
    }
    let exact = (largest / LARGEST).max(f32::MIN_POSITIVE);
    // The next power of two: a mantissa other than zero carries into the exponent.
    f32::from_bits((exact.to_bits() + 0x007f_ffff) & 0xff80_0000)
}

/// The larger magnitude, or NaN if the weight is NaN.
fn larger(largest: f32, weight: f32) -> f32 {
    let weight = weight.abs();
    if weight > largest || weight.is_nan() { weight } else { largest }
}

/// The weight as a multiple of its scale.
fn multiple(weight: f32, scale: f32) -> f32 {
    (weight / scale).round_ties_even().clamp(-LARGEST, LARGEST)
}
