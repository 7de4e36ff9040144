//! A few rows times two registers of columns.

use super::SIDE;
use super::accumulators::Product;
use super::format::Format;

/// Columns of a block of weights, the right operand.
pub const BLOCK: usize = 32;

/// Rows that [`rows_by_block`] multiplies at once, with all of their sums in registers.
pub const BLOCK_ROWS: usize = 8;

/// Elements of a row that the inner loop multiplies in one iteration.
const STRETCH: usize = 8;

/// The number of elements of a row must be padded with zeros to a multiple of this.
pub fn depth_multiple<F: Format>() -> usize {
    if F::TILED { SIDE } else { STRETCH }
}

/// Adds `values · weights` to the sums of two registers, and returns the sums.
///
/// - `sums`: two registers for each row,
/// - `values`: [`BLOCK_ROWS`] rows of `depth` elements; `depth` must be a multiple of
///   [`depth_multiple`],
/// - `weights`: `[depth, BLOCK]`; only the columns of the registers `part` and `part + 1` are used.
///
/// Sums are passed by value, so that they stay in registers.
///
/// # Panics
///
/// Panics if a block has fewer than `part + 2` registers.
#[inline(always)]
pub fn rows_by_block<N: Copy, P: Product<N>>(
    product: P,
    mut sums: [[P::Sums; 2]; BLOCK_ROWS],
    values: [&[N]; BLOCK_ROWS],
    weights: &[N],
    part: usize,
) -> [[P::Sums; 2]; BLOCK_ROWS] {
    let columns = part * P::LANES;
    assert!(columns + 2 * P::LANES <= BLOCK, "two registers of a block");
    let add = |value, weights: [P::Numbers; 2], [low, high]: [P::Sums; 2]| {
        let value = product.splat(value);
        [product.add(value, weights[0], low), product.add(value, weights[1], high)]
    };
    let (weights, _) = weights.as_chunks::<BLOCK>();
    for (stretch, weights) in weights.chunks_exact(STRETCH).enumerate() {
        let values: [&[N; STRETCH]; BLOCK_ROWS] =
            std::array::from_fn(|row| &values[row].as_chunks().0[stretch]);
        for (at, weights) in weights.iter().enumerate() {
            let weights =
                [product.load(&weights[columns..]), product.load(&weights[columns + P::LANES..])];
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
