//! All formats compared with each other and with scalar code.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::Amx;
#[cfg(target_arch = "x86_64")]
use super::avx512_bf16::Avx512Bf16;
use super::emulated_tiles::EmulatedTiles;
use super::f32_format::F32Format;
use super::widened_bf16::WidenedBf16;
use super::*;

/// The sums of [`BLOCK_ROWS`] rows times a block of weights.
struct Multiply<'a, N> {
    rows: [&'a [N]; BLOCK_ROWS],
    weights: &'a [N],
    sums: &'a mut [[f32; BLOCK]; BLOCK_ROWS],
}

impl<N: Copy> Task<N> for Multiply<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<N>>(self, product: P) {
        for part in (0..BLOCK / P::LANES).step_by(2) {
            let zero = [[product.zero(); 2]; BLOCK_ROWS];
            let sums = rows_by_block(product, zero, self.rows, self.weights, part);
            for (to, sums) in self.sums.iter_mut().zip(sums) {
                product.write(sums[0], &mut to[part * P::LANES..]);
                product.write(sums[1], &mut to[(part + 1) * P::LANES..]);
            }
        }
    }
}

fn multiply<F: Format>(format: F, rows: &[f32], weights: &[f32]) -> [[f32; BLOCK]; BLOCK_ROWS] {
    let width = rows.len() / BLOCK_ROWS / F::PACKED;
    let mut stored = vec![F::Element::default(); rows.len() / F::PACKED];
    format.pack_row(rows, &mut stored);
    let mut packed = vec![F::Element::default(); weights.len() / F::PACKED];
    let weights = weights.chunks_exact(F::PACKED * BLOCK);
    for (rows, to) in weights.zip(packed.chunks_exact_mut(BLOCK)) {
        format.interleave(&rows[..BLOCK], &rows[rows.len() - BLOCK..], to);
    }
    let mut sums = [[0.0; BLOCK]; BLOCK_ROWS];
    let rows = std::array::from_fn(|row| &stored[row * width..][..width]);
    format.dispatch(Multiply { rows, weights: &packed, sums: &mut sums });
    sums
}

#[test]
fn all_formats_multiply_small_integers_exactly() {
    const INNER: usize = 48;
    let numbers = |count: usize, by: usize| -> Vec<f32> {
        (0..count).map(|i| (i * by % 255) as f32 - 127.0).collect()
    };
    let (rows, weights) = (numbers(BLOCK_ROWS * INNER, 31), numbers(INNER * BLOCK, 17));
    let expected: [[f32; BLOCK]; BLOCK_ROWS] = std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            (0..INNER).map(|k| rows[row * INNER + k] * weights[k * BLOCK + column]).sum()
        })
    });
    for rounded in [false, true] {
        assert_eq!(multiply(F32Format { rounded }, &rows, &weights), expected);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(format) = Avx512Bf16::detect() {
        assert_eq!(multiply(format, &rows, &weights), expected);
    }
}

#[test]
fn rounds_to_the_nearest_and_ties_to_even() {
    for (number, expected) in [
        (1.0, 1.0),
        (-3.140625, -3.140625),
        (1.0 + 1.0 / 256.0, 1.0),
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
        (1.0 + 1.01 / 256.0, 1.0 + 2.0 / 256.0),
        (f32::INFINITY, f32::INFINITY),
        (f32::MAX, f32::INFINITY),
    ] {
        assert_eq!(round_to_bf16(number), expected, "{number}");
    }
    assert!(round_to_bf16(f32::NAN).is_nan());
    assert!(round_to_bf16(f32::from_bits(0x7f80_0001)).is_nan());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_rounds_like_scalar_code() {
    let Some(format) = Avx512Bf16::detect() else { return };
    let row: Vec<f32> = (0..80).map(|i| (i as f32 - 37.3) * 1.37f32.powi(i - 40)).collect();
    let (mut found, mut rounded) = ([0; 40], [0.0; 80]);
    format.pack_row(&row, &mut found);
    F32Format { rounded: true }.pack_row(&row, &mut rounded);
    for (pair, expected) in found.iter().zip(rounded.as_chunks::<2>().0) {
        let pair = [pair << 16, pair & 0xffff_0000].map(f32::from_bits);
        assert_eq!(pair, *expected);
    }
    for length in 0..40 {
        let (first, second) = (&row[..length], &row[40..][..length]);
        let mut joined = vec![0; length + 1];
        format.interleave(first, second, &mut joined[..length]);
        let expected = first.iter().zip(second).map(|(&a, &b)| pack_bf16(a, b));
        assert!(joined.into_iter().eq(expected.chain([0])), "{length} elements of two rows");
    }
}

/// Adds products of up to two tiles on the left and up to two on the right to existing sums.
struct Products<'a> {
    size: [usize; 2],
    left: &'a [u32],
    right: &'a [u32],
    sums: &'a mut [f32],
}

impl TileTask for Products<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let layout = TileLayout::matrix(40);
        tiles.load(self.size, self.sums, layout);
        // More products than any implementation adds at once.
        let products = [0, SIDE].into_iter().cycle().take(75).map(|at| {
            let left = Operand::new(&self.left[at..], 37, SIDE * 37);
            [left, Operand::new(&self.right[at * 50..], 50, SIDE + 1)]
        });
        tiles.add(self.size, products);
        tiles.store(self.size, self.sums, layout);
        tiles.zero();
        tiles.store([1, 1], &mut self.sums[39 * 40..], TileLayout { pitch: 0, down: 0, right: 0 });
    }
}

fn multiplies_tiles_like_scalar_code(format: impl Format) {
    let packed = |count: usize, by: usize| -> Vec<u32> {
        let number = |i: usize| (i * by % 31) as f32 - 15.0;
        (0..count).map(|i| pack_bf16(number(2 * i), number(2 * i + 1))).collect()
    };
    let (left, right) = (packed(32 * 37, 17), packed(32 * 50, 12));
    for size in [[1, 1], [1, 2], [2, 1], [2, 2]] {
        let start: Vec<f32> = (0..40 * 40).map(|i| i as f32).collect();
        let (mut found, mut expected) = (start.clone(), start.clone());
        format.with_tiles(Products { size, left: &left, right: &right, sums: &mut found });
        EmulatedTiles.with_tiles(Products {
            size,
            left: &left,
            right: &right,
            sums: &mut expected,
        });
        assert_eq!(found, expected, "{size:?}");
        assert_ne!(found, start);
    }
}

fn refuses_tiles_beyond_a_slice(format: impl Format) {
    let refused = |left: usize, right: usize| {
        let (left, right) = (vec![0; left], vec![0; right]);
        let sums = &mut [0.0; 40 * 40];
        let work = Products { size: [2, 2], left: &left, right: &right, sums };
        let panic = catch_unwind(AssertUnwindSafe(|| format.with_tiles(work)));
        let message = panic.err().and_then(|panic| Some(panic.downcast_ref::<&str>()?.to_string()));
        message.is_some_and(|message| message.contains("elements of a tile"))
    };
    assert!(!refused(32 * 37, 32 * 50 + 1));
    assert!(refused(32 * 37, 31 * 50));
    assert!(refused(31 * 37, 32 * 50 + 1));
}

/// A mneeded product whose operands are in separate slices.
struct MneededProduct<'a> {
    needed: &'a [u32],
    lefts: &'a [Vec<u32>],
    rights: &'a [Vec<u32>],
    sums: &'a mut [f32],
}

impl TileTask for MneededProduct<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let products = self.lefts.iter().zip(self.rights);
        let products: Vec<[&[u32]; 2]> = products.map(|(left, right)| [&left[..], right]).collect();
        tiles.masked_product(self.needed, &products, self.sums);
    }
}

fn computes_masked_products_like_scalar_code(format: impl Format) {
    let rows = 7;
    let numbers = |rows: usize, of: usize| -> Vec<u32> {
        let number = |i: usize| ((i * 17 + of * 5) % 31) as f32 - 15.0;
        (0..rows * SIDE).map(|i| pack_bf16(number(2 * i), number(2 * i + 1))).collect()
    };
    // No sum, all sums, and counts that are not multiples of the sums computed at once.
    let needed = [0, u32::MAX, 1, 1 << 31, 0b1101 << 14, 0x0f0f_0101, 0xffff];
    for products in [1, 2, 3, 5, 6, 7, 12, 20] {
        let lefts: Vec<_> = (0..products).map(|of| numbers(rows, of)).collect();
        let rights: Vec<_> = (0..products).map(|of| numbers(BLOCK, of + 40)).collect();
        let [mut found, mut expected] = [vec![f32::NAN; rows * BLOCK], vec![0.0; rows * BLOCK]];
        let (lefts, rights) = (&lefts, &rights);
        format.with_tiles(MneededProduct { needed: &needed, lefts, rights, sums: &mut found });
        EmulatedTiles.with_tiles(MneededProduct {
            needed: &needed,
            lefts,
            rights,
            sums: &mut expected,
        });
        assert_eq!(found, expected, "{products} products");
        for (index, &sum) in found.iter().enumerate() {
            assert!(sum == 0.0 || needed[index / BLOCK] >> (index % BLOCK) & 1 == 1, "{index}");
        }
        assert!(found.iter().any(|&sum| sum != 0.0));
    }
}

fn refuses_rows_beyond_a_slice(format: impl Format) {
    let refused = |rows: usize, left: usize, right: usize, sums: usize| {
        let (lefts, rights) = (&[vec![0; left]], &[vec![0; right]]);
        let (needed, sums) = (&vec![1; rows], &mut vec![0.0; sums]);
        let work = MneededProduct { needed, lefts, rights, sums };
        catch_unwind(AssertUnwindSafe(|| format.with_tiles(work))).is_err()
    };
    assert!(!refused(3, 3 * SIDE, BLOCK * SIDE, 3 * BLOCK));
    assert!(refused(3, 3 * SIDE - 1, BLOCK * SIDE, 3 * BLOCK));
    assert!(refused(3, 3 * SIDE, BLOCK * SIDE - 1, 3 * BLOCK));
    assert!(refused(3, 3 * SIDE, BLOCK * SIDE, 3 * BLOCK - 1));
}

#[test]
fn all_implementations_of_tiles_check_their_operands_and_agree() {
    refuses_tiles_beyond_a_slice(EmulatedTiles);
    refuses_rows_beyond_a_slice(EmulatedTiles);
    for level in levels() {
        level.run(1, || {
            multiplies_tiles_like_scalar_code(WidenedBf16);
            refuses_tiles_beyond_a_slice(WidenedBf16);
            computes_masked_products_like_scalar_code(WidenedBf16);
            refuses_rows_beyond_a_slice(WidenedBf16);
        });
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(format) = Avx512Bf16::detect() {
        multiplies_tiles_like_scalar_code(format);
        refuses_tiles_beyond_a_slice(format);
        computes_masked_products_like_scalar_code(format);
        refuses_rows_beyond_a_slice(format);
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(amx) = Amx::detect() {
        multiplies_tiles_like_scalar_code(amx);
        refuses_tiles_beyond_a_slice(amx);
    }
}
