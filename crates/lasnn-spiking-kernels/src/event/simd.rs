//! The few vector operations that the compiler does not find by itself.
//!
//! Everything here is inlined into a dispatch of `pulp`, which compiles it once for each
//! instruction set (AVX-512, AVX2, NEON, scalar) and chooses when the program runs. Sums are added up in the
//! order of the events whatever the width of the registers, so all instruction sets give the
//! same bits.

use pulp::{Simd, bytemuck};

/// Neurons in one word of spikes, and numbers in the widest register.
pub(crate) const LANES: usize = 16;

/// Columns of 16 words that hold two each: column `i` of them in its lower half, column `i + 16` in its upper one.
pub(crate) const COLUMNS: usize = 2 * LANES;

/// Which registers of sums the lower and the upper halves of a register of such words belong to.
#[inline(always)]
pub(crate) fn of_packed<S: Simd>(register: usize) -> [usize; 2] {
    // Registers of 16 words, whatever they hold here.
    let per_group = LANES / S::U32_LANES;
    let (group, part) = (register / per_group, register % per_group);
    let first = 2 * group * per_group + part;
    [first, first + per_group]
}

/// A matrix of which the rows that events name are added up: rows of `width` numbers, a multiple of
/// [`LANES`], of which events count from `first`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub matrix: &'a [f32],
    pub width: usize,
    pub first: usize,
}

/// Adds the first `sum.len()` numbers, a multiple of [`LANES`], of the rows that events name to `sum`,
/// times `scale`.
#[inline(always)]
pub(crate) fn add_rows<S: Simd>(
    simd: S,
    sum: &mut [f32],
    rows: Rows<'_>,
    events: &[u32],
    scale: f32,
) {
    with_columns::<S>(simd, sum, rows, events, scale, true);
}

/// [`add_rows`] into a sum that is 0, without reading it: fresh memory is then written only.
#[inline(always)]
pub(crate) fn set_rows<S: Simd>(
    simd: S,
    sum: &mut [f32],
    rows: Rows<'_>,
    events: &[u32],
    scale: f32,
) {
    with_columns::<S>(simd, sum, rows, events, scale, false);
}

#[inline(always)]
fn with_columns<S: Simd>(
    simd: S,
    sum: &mut [f32],
    rows: Rows<'_>,
    events: &[u32],
    scale: f32,
    add: bool,
) {
    let matrix = S::as_simd_f32s(rows.matrix).0;
    let sum = S::as_mut_simd_f32s(sum).0;
    let width = rows.width / S::F32_LANES;
    let mut at = 0;
    while at < sum.len() {
        let (left, first) = (sum.len() - at, at + rows.first * width);
        let to = &mut sum[at..];
        at += match left {
            8.. => columns::<S, 8>(simd, to, (matrix, width, first), events, scale, add),
            4.. => columns::<S, 4>(simd, to, (matrix, width, first), events, scale, add),
            2.. => columns::<S, 2>(simd, to, (matrix, width, first), events, scale, add),
            _ => columns::<S, 1>(simd, to, (matrix, width, first), events, scale, add),
        };
    }
}

/// The sums of `N` registers of each row.
#[inline(always)]
fn columns<S: Simd, const N: usize>(
    simd: S,
    sum: &mut [S::f32s],
    (matrix, width, first): (&[S::f32s], usize, usize),
    events: &[u32],
    scale: f32,
    add: bool,
) -> usize {
    let mut sums = [simd.splat_f32s(0.0); N];
    for &event in events {
        let start = event as usize * width + first;
        let row = &matrix[start..start + N];
        for lane in 0..N {
            sums[lane] = simd.add_f32s(sums[lane], row[lane]);
        }
    }
    let scale = simd.splat_f32s(scale);
    for lane in 0..N {
        let scaled = simd.mul_f32s(sums[lane], scale);
        sum[lane] = if add { simd.add_f32s(sum[lane], scaled) } else { scaled };
    }
    N
}

/// Which of [`LANES`] neurons are above the threshold, neuron 0 in the lowest bit.
#[inline(always)]
pub(crate) fn fired<S: Simd>(simd: S, u: &[f32; LANES], threshold: f32) -> u16 {
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
