//! Sums of the rows of a matrix that events name, in vector registers.
//!
//! All functions are inlined into a dispatch of `pulp`, which compiles them once for each
//! instruction set (AVX-512, AVX2, NEON, scalar) and selects one when the program runs. The rows
//! are added in the order of the events whatever the width of the registers, so all instruction
//! sets give the same bits.

use pulp::Simd;

pub(crate) use crate::spikes::LANES;

/// Columns in a group of [`LANES`] words that hold two numbers each. The lower half of word `i`
/// holds column `i`, the upper half column `i + 16`.
pub(crate) const COLUMNS: usize = 2 * LANES;

/// The registers of sums of the lower and of the upper columns of a register of words.
#[inline(always)]
pub(crate) fn of_packed<S: Simd>(register: usize) -> [usize; 2] {
    // Registers in a group of 16 words.
    let per_group = LANES / S::U32_LANES;
    let (group, part) = (register / per_group, register % per_group);
    let first = 2 * group * per_group + part;
    [first, first + per_group]
}

/// A matrix whose rows events name. An event `e` names row `first + e`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub matrix: &'a [f32],
    /// Numbers in a row, a multiple of [`LANES`].
    pub width: usize,
    pub first: usize,
}

/// Adds `scale` times the rows that events name to `sum`.
///
/// Only the first `sum.len()` numbers of each row are added, a multiple of [`LANES`].
#[inline(always)]
pub(crate) fn add_rows<S: Simd>(
    simd: S,
    sum: &mut [f32],
    rows: Rows<'_>,
    events: &[u32],
    scale: f32,
) {
    sum_rows::<S>(simd, sum, rows, events, scale, true);
}

/// [`add_rows`] to a sum that is 0. It only writes the sum, because reading fresh memory first maps
/// it twice.
#[inline(always)]
pub(crate) fn set_rows<S: Simd>(
    simd: S,
    sum: &mut [f32],
    rows: Rows<'_>,
    events: &[u32],
    scale: f32,
) {
    sum_rows::<S>(simd, sum, rows, events, scale, false);
}

#[inline(always)]
fn sum_rows<S: Simd>(
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
            8.. => sum_registers::<S, 8>(simd, to, (matrix, width, first), events, scale, add),
            4.. => sum_registers::<S, 4>(simd, to, (matrix, width, first), events, scale, add),
            2.. => sum_registers::<S, 2>(simd, to, (matrix, width, first), events, scale, add),
            _ => sum_registers::<S, 1>(simd, to, (matrix, width, first), events, scale, add),
        };
    }
}

/// Sums `N` registers of each row and returns `N`.
#[inline(always)]
fn sum_registers<S: Simd, const N: usize>(
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
        for register in 0..N {
            sums[register] = simd.add_f32s(sums[register], row[register]);
        }
    }
    let scale = simd.splat_f32s(scale);
    for register in 0..N {
        let scaled = simd.mul_f32s(sums[register], scale);
        sum[register] = if add { simd.add_f32s(sum[register], scaled) } else { scaled };
    }
    N
}
