//! Some sums of a product where there are no registers for tiles: each is the product of two rows, so that
//! nothing is computed that nobody asks for.

#![allow(unsafe_code, reason = "unchecked reads in the innermost loop")]

use super::tiles::{SIDE, check_rows};
use super::{BLOCK, Product, Task};
use crate::memory::{Needed, prefetch};

/// Sums of a row that are computed at once.
const TOGETHER: usize = 4;

/// Whether so many sums of so many rows take less time than all of them. With pairs, a product of two registers
/// takes one cycle for all sums, and for some a little more, with what adding up the numbers of a register takes.
pub(super) fn are_faster(asked: usize, rows: usize, products: usize) -> bool {
    let some = asked * (products * 9 / 8 + products.div_ceil(6));
    some < rows * BLOCK * products
}

/// Writes the sums that are asked for, and zeros; see [`Tiles::some`](super::tiles::Tiles::some).
pub(super) struct SomeSums<'a> {
    pub asked: &'a [u32],
    pub products: &'a [[&'a [u32]; 2]],
    pub found: &'a mut Vec<f32>,
    pub sums: &'a mut [f32],
}

impl Task<u32> for SomeSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<u32>>(self, product: P) {
        let Self { asked, products, found, sums } = self;
        check_rows(asked.len(), products, sums);
        let count: usize = asked.iter().map(|asked| asked.count_ones() as usize).sum();
        // One behind the other as they are asked for, and room for a few more.
        found.clear();
        found.resize(count + BLOCK, 0.0);
        // No closures here: what is called may not know that the processor has wide vectors.
        for products in products.chunks(depth::<P>()) {
            let of_row = SIDE / P::LANES;
            match products.len() * of_row {
                1 | 2 => add::<P, 2>(product, asked, products, found),
                3 | 4 => add::<P, 4>(product, asked, products, found),
                5 | 6 => add::<P, 6>(product, asked, products, found),
                7 | 8 => add::<P, 8>(product, asked, products, found),
                _ => add::<P, SIDE>(product, asked, products, found),
            }
        }
        let mut at = 0;
        for (&asked, sums) in asked.iter().zip(sums.as_chunks_mut::<BLOCK>().0) {
            product.expand(asked, &found[at..], sums);
            at += asked.count_ones() as usize;
        }
    }
}

/// How many products are added to all sums before the next ones are: more save a part of adding up a register's
/// numbers, but what they multiply leaves the nearest cache (measured with 4 to 24), or does not fit into
/// registers.
fn depth<P: Product<u32>>() -> usize {
    match SIDE / P::LANES {
        1 => 6,
        2 | 4 => 2,
        _ => 1,
    }
}

/// Adds products to all sums, of which `REGISTERS` hold a row on the left.
#[inline(always)]
fn add<P: Product<u32>, const REGISTERS: usize>(
    product: P,
    asked: &[u32],
    products: &[[&[u32]; 2]],
    found: &mut [f32],
) {
    let of_row = SIDE / P::LANES;
    let mut rights = [products[0][1]; REGISTERS];
    for (to, [_, right]) in rights.iter_mut().zip(products) {
        *to = right;
    }
    let mut at = 0;
    for (row, &asked) in asked.iter().enumerate() {
        if asked == 0 {
            continue;
        }
        // Where there is no product any more, zeros meet numbers of another one.
        let mut held = [product.splat(0); REGISTERS];
        for (held, [left, _]) in held.chunks_exact_mut(of_row).zip(products) {
            for (part, held) in held.iter_mut().enumerate() {
                let at = row * SIDE + part * P::LANES;
                // SAFETY: `run` found the numbers of all rows.
                *held = product.load(unsafe { left.get_unchecked(at..at + P::LANES) });
            }
            prefetch(left, (row + 1) * SIDE, Needed::Next);
        }
        let mut left = asked;
        while left != 0 {
            let to = (&mut left, &mut found[at..]);
            at += match to.0.count_ones() {
                1 => some::<P, 1, REGISTERS>(product, &held, &rights, to),
                2 => some::<P, 2, REGISTERS>(product, &held, &rights, to),
                3 => some::<P, 3, REGISTERS>(product, &held, &rights, to),
                _ => some::<P, 4, REGISTERS>(product, &held, &rights, to),
            };
        }
    }
}

/// Adds to the next `COUNT` sums of a row, and nothing to others of [`TOGETHER`].
#[inline(always)]
fn some<P: Product<u32>, const COUNT: usize, const REGISTERS: usize>(
    product: P,
    held: &[P::Numbers; REGISTERS],
    rights: &[&[u32]; REGISTERS],
    (left, found): (&mut u32, &mut [f32]),
) -> usize {
    let mut rows = [0; COUNT];
    for row in &mut rows {
        *row = left.trailing_zeros() as usize * SIDE;
        *left &= *left - 1;
    }
    let of_row = SIDE / P::LANES;
    let mut sums = [product.zero(); TOGETHER];
    for (register, &held) in held.iter().enumerate() {
        let right = rights[register / of_row];
        for (sum, &row) in sums.iter_mut().zip(&rows) {
            let at = row + register % of_row * P::LANES;
            // SAFETY: `run` found numbers for all bits of what can be asked for.
            let right = product.load(unsafe { right.get_unchecked(at..at + P::LANES) });
            *sum = product.add(held, right, *sum);
        }
    }
    let totals = product.totals(sums);
    for (to, total) in found[..TOGETHER].iter_mut().zip(totals) {
        *to += total;
    }
    COUNT
}
