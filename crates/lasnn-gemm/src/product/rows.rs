//! A few rows of numbers by two registers of weights.

use super::{Format, Product, SIDE};

/// Columns of a block of weights.
pub const BLOCK: usize = 32;

/// Rows whose sums are in registers together.
pub const TOGETHER: usize = 8;

/// Numbers of a row that are taken together, where not by tiles.
const STRETCH: usize = 8;

/// Numbers of a row that are taken together; rows are filled up to a multiple of it.
pub fn stretch<F: Format>() -> usize {
    if F::TILED { SIDE } else { STRETCH }
}

/// Adds `values · weights` to the sums of two registers: `values` are rows of as many numbers as
/// there are weight rows, a multiple of [`STRETCH`]; `weights` are rows of a [`BLOCK`], of which the
/// two registers from `part` on are taken. Sums go by value, so that they stay in registers.
#[inline(always)]
pub fn rows_by_block<N: Copy, P: Product<N>>(
    product: P,
    mut sums: [[P::Sums; 2]; TOGETHER],
    values: [&[N]; TOGETHER],
    weights: &[N],
    part: usize,
) -> [[P::Sums; 2]; TOGETHER] {
    let columns = part * P::LANES;
    assert!(columns + 2 * P::LANES <= BLOCK, "two registers of a block");
    let add = |value, weights: [P::Numbers; 2], [low, high]: [P::Sums; 2]| {
        let value = product.splat(value);
        [product.add(value, weights[0], low), product.add(value, weights[1], high)]
    };
    let (weights, _) = weights.as_chunks::<BLOCK>();
    for (stretch, weights) in weights.chunks_exact(STRETCH).enumerate() {
        let values: [&[N; STRETCH]; TOGETHER] =
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
