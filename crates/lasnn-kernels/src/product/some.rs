//! Some sums of a product where the processor multiplies pairs (AVX512-BF16): each is the product of two rows,
//! so that nothing is computed that nobody asks for.

use std::arch::x86_64::{
    __m128, __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_add_ps, _mm_loadu_ps, _mm_prefetch,
    _mm_storeu_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm512_add_ps,
    _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps512_ps256, _mm512_dpbf16_ps,
    _mm512_extractf32x8_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_maskz_expand_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::array::from_fn;
use std::mem::transmute;

use super::tiles::{ASKED, SIDE};

/// Products that are added to all sums before the next ones are: more save a part of adding up a register's
/// numbers, but what they multiply leaves the nearest cache (measured with 4 to 24).
const DEPTH: usize = 6;

/// Sums of a row that are computed at once.
const TOGETHER: usize = 4;

/// Whether so many sums of so many rows take less time than all of them. A product of two registers takes one
/// cycle for all sums, and for some a little more, with what adding up the 16 numbers of a register takes.
pub(super) fn are_faster(asked: usize, rows: usize, products: usize) -> bool {
    let some = asked * (products * 9 / 8 + products.div_ceil(DEPTH));
    some < rows * ASKED * products
}

/// Writes the sums that are asked for, and zeros; see [`Tiles::some`](super::tiles::Tiles::some).
///
/// # Safety
///
/// [`check_rows`](super::tiles::check_rows) must have found all numbers.
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
pub(super) unsafe fn compute(
    asked: &[u32],
    products: &[[&[u32]; 2]],
    found: &mut Vec<f32>,
    sums: &mut [f32],
) {
    let count: usize = asked.iter().map(|asked| asked.count_ones() as usize).sum();
    found.clear();
    found.resize(count + ASKED, 0.0);
    for products in products.chunks(DEPTH) {
        // SAFETY: as for this function.
        unsafe {
            match products.len() {
                1 | 2 => add::<2>(asked, products, found),
                3 | 4 => add::<4>(asked, products, found),
                _ => add::<DEPTH>(asked, products, found),
            }
        }
    }
    let mut at = 0;
    for (&asked, sums) in asked.iter().zip(sums.as_chunks_mut::<ASKED>().0) {
        for (half, sums) in sums.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            let asked = (asked >> (half * SIDE)) as u16;
            // SAFETY: `found` is longer than what is asked for by a register.
            unsafe {
                let all = _mm512_loadu_ps(found[at..][..SIDE].as_ptr());
                _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_maskz_expand_ps(asked, all));
            }
            at += asked.count_ones() as usize;
        }
    }
}

/// Adds up to `DEPTH` products to all sums, which lie one after the other as they are asked for.
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
unsafe fn add<const DEPTH: usize>(asked: &[u32], products: &[[&[u32]; 2]], found: &mut [f32]) {
    let mut rights = [products[0][1].as_ptr(); DEPTH];
    for (to, [_, right]) in rights.iter_mut().zip(products) {
        *to = right.as_ptr();
    }
    let mut at = 0;
    for (row, &asked) in asked.iter().enumerate() {
        if asked == 0 {
            continue;
        }
        // Where there is no product any more, zeros meet numbers of another one.
        let mut held: [__m512bh; DEPTH] = [bits(_mm512_setzero_ps()); DEPTH];
        for (held, [left, _]) in held.iter_mut().zip(products) {
            // SAFETY: the numbers of the row are there, and nothing is read of the next one.
            unsafe {
                let row = left.as_ptr().add(row * SIDE);
                *held = load(row);
                _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(SIDE).cast());
            }
        }
        let mut left = asked;
        while left != 0 {
            // SAFETY: the numbers of all rows on the right are there; `found` has room for what is asked for
            // and a register more.
            unsafe {
                let to = found[at..][..TOGETHER].as_mut_ptr();
                at += match left.count_ones() {
                    1 => some::<1, DEPTH>(&held, &rights, &mut left, to),
                    2 => some::<2, DEPTH>(&held, &rights, &mut left, to),
                    3 => some::<3, DEPTH>(&held, &rights, &mut left, to),
                    _ => some::<4, DEPTH>(&held, &rights, &mut left, to),
                };
            }
        }
    }
}

/// Adds to the next `COUNT` sums of a row, and nothing to others of [`TOGETHER`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
unsafe fn some<const COUNT: usize, const DEPTH: usize>(
    held: &[__m512bh; DEPTH],
    rights: &[*const u32; DEPTH],
    left: &mut u32,
    to: *mut f32,
) -> usize {
    let lanes: [usize; COUNT] = from_fn(|_| {
        let lane = left.trailing_zeros() as usize;
        *left &= *left - 1;
        lane * SIDE
    });
    let mut sums = [_mm512_setzero_ps(); TOGETHER];
    for (&held, right) in held.iter().zip(rights) {
        for (sum, &lane) in sums.iter_mut().zip(&lanes) {
            // SAFETY: as for `add`.
            *sum = _mm512_dpbf16_ps(*sum, held, unsafe { load(right.add(lane)) });
        }
    }
    // SAFETY: as for `add`.
    unsafe { _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), add_up(sums))) };
    COUNT
}

/// The sums of the numbers of each register.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn add_up([a, b, c, d]: [__m512; TOGETHER]) -> __m128 {
    let both = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (low, high) = (_mm512_castps_pd(both(a, b)), _mm512_castps_pd(both(c, d)));
    let (even, odd) = (_mm512_unpacklo_pd(low, high), _mm512_unpackhi_pd(low, high));
    let quarters = _mm512_add_ps(_mm512_castpd_ps(even), _mm512_castpd_ps(odd));
    let halves =
        _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
    _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves))
}

/// The numbers of a row.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const u32) -> __m512bh {
    // SAFETY: as for `add`; both types are 64 bytes of which any will do.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast())) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bits(register: __m512) -> __m512bh {
    // SAFETY: both types are 64 bytes of which any will do.
    unsafe { transmute::<__m512, __m512bh>(register) }
}
