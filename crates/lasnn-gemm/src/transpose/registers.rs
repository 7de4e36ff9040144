//! Squares in AVX and AVX-512 registers, with one row in each register.

#![allow(unsafe_code, reason = "conversions between vectors and arrays")]

use std::arch::x86_64::{__m256, __m512, __m512d};
use std::mem::transmute;

use pulp::x86::{V3, V4};

use super::{Square, Squares};

impl Squares for V3 {
    #[inline(always)]
    fn eight(self, rows: Square<8>) -> Square<8> {
        let avx = self.avx;
        // SAFETY: both types have the same size, and any bits are valid for each.
        let rows = unsafe { transmute::<Square<8>, [__m256; 8]>(rows) };
        // First interleave two neighbouring rows, then four. After that, each 128-bit lane of
        // register `4 · g + c` contains one column of the four columns of that lane, namely column
        // `c`, for the rows `4 · g` to `4 · g + 3`.
        let twos: [__m256; 8] = std::array::from_fn(|i| {
            let (upper, lower) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
            match i % 2 {
                0 => avx._mm256_unpacklo_ps(upper, lower),
                _ => avx._mm256_unpackhi_ps(upper, lower),
            }
        });
        let fours: [__m256; 8] = std::array::from_fn(|i| {
            let (upper, lower) = (twos[i / 4 * 4 + i % 4 / 2], twos[i / 4 * 4 + i % 4 / 2 + 2]);
            match i % 2 {
                0 => avx._mm256_shuffle_ps::<0b01_00_01_00>(upper, lower),
                _ => avx._mm256_shuffle_ps::<0b11_10_11_10>(upper, lower),
            }
        });
        let columns: [__m256; 8] = std::array::from_fn(|i| match i / 4 {
            0 => avx._mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i]),
            _ => avx._mm256_permute2f128_ps::<0x31>(fours[i - 4], fours[i]),
        });
        // SAFETY: both types have the same size, and any bits are valid for each.
        unsafe { transmute::<[__m256; 8], Square<8>>(columns) }
    }

    #[inline(always)]
    fn sixteen(self, rows: Square<16>) -> Square<16> {
        let mut columns = [[0.0; 16]; 16];
        for row in [0, 8] {
            for column in [0, 8] {
                let part = std::array::from_fn(|i| {
                    let part: &[f32; 8] = &rows[row + i].as_chunks().0[column / 8];
                    *part
                });
                for (i, numbers) in self.eight(part).iter().enumerate() {
                    columns[column + i][row..row + 8].copy_from_slice(numbers);
                }
            }
        }
        columns
    }
}

impl Squares for V4 {
    #[inline(always)]
    fn eight(self, rows: Square<8>) -> Square<8> {
        V3::eight(*self, rows)
    }

    #[inline(always)]
    fn sixteen(self, rows: Square<16>) -> Square<16> {
        let avx = self.avx512f;
        // SAFETY: both types have the same size, and any bits are valid for each.
        let rows = unsafe { transmute::<Square<16>, [__m512; 16]>(rows) };
        // As in `V3::eight`, for the four 128-bit lanes of a register.
        let twos: [__m512; 16] = std::array::from_fn(|i| {
            let (upper, lower) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
            match i % 2 {
                0 => avx._mm512_unpacklo_ps(upper, lower),
                _ => avx._mm512_unpackhi_ps(upper, lower),
            }
        });
        let fours: [__m512; 16] = std::array::from_fn(|i| {
            let of = |number: usize| as_f64(twos[i / 4 * 4 + i % 4 / 2 + number]);
            let (upper, lower) = (of(0), of(2));
            as_f32(match i % 2 {
                0 => avx._mm512_unpacklo_pd(upper, lower),
                _ => avx._mm512_unpackhi_pd(upper, lower),
            })
        });
        // Collect the even or the odd 128-bit lanes of two registers, then of four.
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        let columns: [__m512; 16] = std::array::from_fn(|i| {
            let [a, b, c, d] = std::array::from_fn(|g| fours[4 * g + i % 4]);
            let [upper, lower] = [[a, b], [c, d]].map(|[a, b]| match i / 4 % 2 {
                0 => avx._mm512_shuffle_f32x4::<EVEN>(a, b),
                _ => avx._mm512_shuffle_f32x4::<ODD>(a, b),
            });
            match i / 8 {
                0 => avx._mm512_shuffle_f32x4::<EVEN>(upper, lower),
                _ => avx._mm512_shuffle_f32x4::<ODD>(upper, lower),
            }
        });
        // SAFETY: both types have the same size, and any bits are valid for each.
        unsafe { transmute::<[__m512; 16], Square<16>>(columns) }
    }
}

/// The same bits as a register of `f64`.
#[inline(always)]
fn as_f64(register: __m512) -> __m512d {
    // SAFETY: both types have 64 bytes, and any bits are valid for each.
    unsafe { transmute::<__m512, __m512d>(register) }
}

/// The same bits as a register of `f32`.
#[inline(always)]
fn as_f32(register: __m512d) -> __m512 {
    // SAFETY: both types have 64 bytes, and any bits are valid for each.
    unsafe { transmute::<__m512d, __m512>(register) }
}
