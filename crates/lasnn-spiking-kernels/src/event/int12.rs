//! Weights as integers of 12 bits, two to a word.
//!
//! A column of a matrix has one step, a power of two, and its weights are multiples of it. So a
//! network of such weights is a network of `f32` weights that happen to be rounded, and its sums are
//! whole numbers: no order of adding up changes a bit of them. They take half the memory of `f32`,
//! and an instruction adds twice as many.
//!
//! A word holds two columns as [`COLUMNS`] says, each raised by [`BIAS`] so that nothing is negative and no
//! sum of [`GROUP`] words carries over.

use pulp::Simd;

use crate::event::simd::{COLUMNS, LANES, of_packed};

/// What a weight of 0 is stored as.
const BIAS: u32 = 1 << 11;

/// The largest multiple of a step.
const LARGEST: f32 = (BIAS - 1) as f32;

/// `2^23` as a number, and the bits of it as an `f32`, in whose mantissa stand the whole numbers below.
const MAGIC_VALUE: u32 = 1 << 23;
const MAGIC: u32 = 0x4b00_0000;

/// So many words of 12 bits add up to at most 16 bits.
const GROUP: usize = 16;

/// So many weights add up to less than `2^23`, where an `f32` still tells whole numbers apart by its
/// mantissa alone.
const CHUNK: usize = 2048;

/// The step of weights of which none is larger than `largest`: the smallest power of two that
/// takes at most [`LARGEST`] of it. What is not a finite number stays none, so that it shows.
fn step(largest: f32) -> f32 {
    if !largest.is_finite() {
        return f32::NAN;
    }
    let exact = (largest / LARGEST).max(f32::MIN_POSITIVE);
    // The next power of two: a mantissa that is not zero carries into the exponent.
    f32::from_bits((exact.to_bits() + 0x007f_ffff) & 0xff80_0000)
}

/// The larger magnitude; a NaN stays one.
fn larger(largest: f32, weight: f32) -> f32 {
    let weight = weight.abs();
    if weight > largest || weight.is_nan() { weight } else { largest }
}

/// The steps of so many columns, given their rows, which may be shorter.
pub(crate) fn steps<'a>(rows: impl Iterator<Item = &'a [f32]>, columns: usize) -> Vec<f32> {
    let mut largest = vec![0.0; columns];
    for row in rows {
        for (largest, &weight) in largest.iter_mut().zip(row) {
            *largest = larger(*largest, weight);
        }
    }
    largest.into_iter().map(step).collect()
}

/// A weight as a multiple of its step.
fn multiple(weight: f32, step: f32) -> f32 {
    (weight / step).round_ties_even().clamp(-LARGEST, LARGEST)
}

/// The weight that is stored for a weight.
pub(crate) fn rounded(weight: f32, step: f32) -> f32 {
    multiple(weight, step) * step
}

/// Rows of weights, as many as there are steps in each, a multiple of [`COLUMNS`].
pub(crate) fn pack(rows: &[f32], steps: &[f32], packed: &mut [u32]) {
    let width = steps.len();
    let rows = rows.chunks_exact(width).zip(packed.chunks_exact_mut(width / 2));
    for (row, packed) in rows {
        let groups = row.chunks_exact(COLUMNS).zip(steps.chunks_exact(COLUMNS));
        for ((row, steps), packed) in groups.zip(packed.chunks_exact_mut(LANES)) {
            for (lane, word) in packed.iter_mut().enumerate() {
                let half = |lane: usize| (multiple(row[lane], steps[lane]) + BIAS as f32) as u32;
                *word = half(lane) | half(lane + LANES) << 16;
            }
        }
    }
}

/// Rows of weights, as [`pack`] makes them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub words: &'a [u32],
    /// By column.
    pub steps: &'a [f32],
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
    let width = rows.steps.len() / 2 / S::U32_LANES;
    let words = S::as_simd_u32s(rows.words).0;
    let steps = S::as_simd_f32s(rows.steps).0;
    let registers = sum.len() / 2 / S::U32_LANES;
    let sum = S::as_mut_simd_f32s(sum).0;
    let mut at = 0;
    while at < registers {
        let to = (&mut *sum, steps, at);
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
    (sum, steps, at): (&mut [S::f32s], &[S::f32s], usize),
    (words, width): (&[S::u32s], usize),
    events: &[u32],
    scale: f32,
) -> usize {
    let [zero, mask, half, magic] = [0, 0xffff, 16, MAGIC].map(|word| simd.splat_u32s(word));
    let scale = simd.splat_f32s(scale);
    for chunk in events.chunks(CHUNK) {
        let (mut low, mut high) = ([zero; N], [zero; N]);
        for group in chunk.chunks(GROUP) {
            let mut pairs = [zero; N];
            for &event in group {
                let row = &words[event as usize * width + at..][..N];
                for lane in 0..N {
                    pairs[lane] = simd.add_u32s(pairs[lane], row[lane]);
                }
            }
            for lane in 0..N {
                low[lane] = simd.add_u32s(low[lane], simd.and_u32s(pairs[lane], mask));
                let upper = simd.wrapping_dyn_shr_u32s(pairs[lane], half);
                high[lane] = simd.add_u32s(high[lane], upper);
            }
        }
        let bias = simd.splat_f32s((MAGIC_VALUE + BIAS * chunk.len() as u32) as f32);
        for lane in 0..N {
            for (whole, place) in [low[lane], high[lane]].into_iter().zip(of_packed::<S>(at + lane))
            {
                let number = simd.transmute_f32s_u32s(simd.or_u32s(whole, magic));
                let number = simd.sub_f32s(number, bias);
                let number = simd.mul_f32s(number, simd.mul_f32s(steps[place], scale));
                sum[place] = simd.add_f32s(sum[place], number);
            }
        }
    }
    N
}
