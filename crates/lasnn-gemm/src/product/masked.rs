//! A subset of the sums of a product: see [`Tiles::masked_product`](super::Tiles::masked_product).
//!
//! Each sum is a dot product of two rows, so sums that are not needed are not computed.

#![allow(unsafe_code, reason = "unchecked reads in the innermost loop")]

use super::accumulators::{Product, Task};
use super::tiles::check_masked;
use super::{BLOCK, SIDE};
use crate::memory::{CacheLevel, prefetch};

/// Sums of a row that are computed at once.
const SUMS: usize = 4;

/// Whether `needed` sums of `rows` rows take less time than all sums of these rows.
///
/// With AVX512-BF16, a multiply-add takes one cycle in a complete product. In a masked product it
/// takes a little more, and the horizontal sums of the registers take time, too.
pub(super) fn is_faster(needed: usize, rows: usize, products: usize) -> bool {
    let masked = needed * (products * 9 / 8 + products.div_ceil(6));
    masked < rows * BLOCK * products
}

/// The arguments of [`Tiles::masked_product`](super::Tiles::masked_product), and memory.
pub(super) struct MaskedProduct<'a> {
    pub needed: &'a [u32],
    pub products: &'a [[&'a [u32]; 2]],
    /// Overwritten with the needed sums, one after the other.
    pub buffer: &'a mut Vec<f32>,
    pub sums: &'a mut [f32],
}

impl Task<u32> for MaskedProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<u32>>(self, product: P) {
        let Self { needed, products, buffer, sums } = self;
        check_masked(needed.len(), products, sums);
        let count: usize = needed.iter().map(|needed| needed.count_ones() as usize).sum();
        // Loops read and write whole registers, so they may exceed the needed sums.
        buffer.clear();
        buffer.resize(count + BLOCK, 0.0);
        // No closures here: a closure that is not inlined is compiled for the oldest processor.
        for products in products.chunks(depth::<P>()) {
            let of_row = SIDE / P::LANES;
            match products.len() * of_row {
                1 | 2 => add::<P, 2>(product, needed, products, buffer),
                3 | 4 => add::<P, 4>(product, needed, products, buffer),
                5 | 6 => add::<P, 6>(product, needed, products, buffer),
                7 | 8 => add::<P, 8>(product, needed, products, buffer),
                _ => add::<P, SIDE>(product, needed, products, buffer),
            }
        }
        let mut at = 0;
        for (&needed, sums) in needed.iter().zip(sums.as_chunks_mut::<BLOCK>().0) {
            product.expand(needed, &buffer[at..], sums);
            at += needed.count_ones() as usize;
        }
    }
}

/// How many products are added to all sums before the next products are.
///
/// More products need fewer horizontal sums. But then their operands exceed the first-level cache
/// (measured with 4 to 24), or the registers.
fn depth<P: Product<u32>>() -> usize {
    match SIDE / P::LANES {
        1 => 6,
        2 | 4 => 2,
        _ => 1,
    }
}

/// Adds a few products to all needed sums. A row of the left operands of all these products takes
/// `REGISTERS` registers.
#[inline(always)]
fn add<P: Product<u32>, const REGISTERS: usize>(
    product: P,
    needed: &[u32],
    products: &[[&[u32]; 2]],
    buffer: &mut [f32],
) {
    let of_row = SIDE / P::LANES;
    let mut rights = [products[0][1]; REGISTERS];
    for (to, [_, right]) in rights.iter_mut().zip(products) {
        *to = right;
    }
    let mut at = 0;
    for (row, &needed) in needed.iter().enumerate() {
        if needed == 0 {
            continue;
        }
        // Registers without a product stay zero; they are multiplied by another right operand.
        let mut held = [product.splat(0); REGISTERS];
        for (held, [left, _]) in held.chunks_exact_mut(of_row).zip(products) {
            for (part, held) in held.iter_mut().enumerate() {
                let at = row * SIDE + part * P::LANES;
                // SAFETY: `run` checked that the operand contains all rows.
                *held = product.load(unsafe { left.get_unchecked(at..at + P::LANES) });
            }
            prefetch(left, (row + 1) * SIDE, CacheLevel::L1);
        }
        let mut left = needed;
        while left != 0 {
            let to = (&mut left, &mut buffer[at..]);
            at += match to.0.count_ones() {
                1 => add_sums::<P, 1, REGISTERS>(product, &held, &rights, to),
                2 => add_sums::<P, 2, REGISTERS>(product, &held, &rights, to),
                3 => add_sums::<P, 3, REGISTERS>(product, &held, &rights, to),
                _ => add_sums::<P, 4, REGISTERS>(product, &held, &rights, to),
            };
        }
    }
}

/// Adds to the next `COUNT` sums of a row, at most [`SUMS`], and returns `COUNT`.
///
/// `left` contains the bits of the sums of the row that remain, and `buffer` begins with the first
/// of these sums. `held` is the row of the left operands.
#[inline(always)]
fn add_sums<P: Product<u32>, const COUNT: usize, const REGISTERS: usize>(
    product: P,
    held: &[P::Numbers; REGISTERS],
    rights: &[&[u32]; REGISTERS],
    (left, buffer): (&mut u32, &mut [f32]),
) -> usize {
    let mut rows = [0; COUNT];
    for row in &mut rows {
        *row = left.trailing_zeros() as usize * SIDE;
        *left &= *left - 1;
    }
    let of_row = SIDE / P::LANES;
    let mut sums = [product.zero(); SUMS];
    for (register, &held) in held.iter().enumerate() {
        let right = rights[register / of_row];
        for (sum, &row) in sums.iter_mut().zip(&rows) {
            let at = row + register % of_row * P::LANES;
            // SAFETY: `run` checked that the operand contains a row for each of the 32 bits.
            let right = product.load(unsafe { right.get_unchecked(at..at + P::LANES) });
            *sum = product.add(held, right, *sum);
        }
    }
    let totals = product.horizontal_sums(sums);
    for (to, total) in buffer[..SUMS].iter_mut().zip(totals) {
        *to += total;
    }
    COUNT
}
