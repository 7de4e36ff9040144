//! Pairs of bfloat16 with AVX512-BF16.

#![allow(unsafe_code, reason = "instructions that `pulp` does not have")]

use std::arch::x86_64::{
    __cpuid, __m128, __m512, __m512bh, __m512i, _mm_add_ps, _mm256_add_ps, _mm256_castps256_ps128,
    _mm256_extractf128_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castps512_ps256, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_extractf32x8_ps,
    _mm512_loadu_ps, _mm512_maskz_expand_ps, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16,
    _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};
use std::mem::transmute;

use pulp::x86::V4;
use pulp::{Simd, f32x16, u32x16};

use super::row_tiles::RowTiles;
use super::single::half;
use super::{BLOCK, Format, Product, Registers, Rows, Task, TileTask};

/// Exists only where the processor has AVX-512 with bfloat16.
#[derive(Clone, Copy)]
pub(super) struct Pairs(V4);

/// Words of a register.
const LANES: usize = 16;

/// Whether a product of pairs takes the time of one of single numbers. On the one processor of
/// Intel's that was measured (`docs/performance.md`) it takes four times as long.
pub(super) fn are_fast() -> bool {
    let found = __cpuid(0);
    [found.ebx, found.edx, found.ecx].map(u32::to_le_bytes).as_flattened() != b"GenuineIntel"
}

impl Pairs {
    /// Whether the processor has the instructions.
    pub fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avx512bf16") { V4::try_new().map(Self) } else { None }
    }

    // All that `V4` has found, and pairs.
    #[target_feature(enable = "fma,bmi1,bmi2,lzcnt,popcnt")]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn run<T: Task<u32>>(self, task: T) -> T::Output {
        task.run(self)
    }

    /// Neighbours of a row, as many whole registers as there are.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn neighbours(self, row: &[f32], to: &mut [u32]) {
        let rows = row.as_chunks::<{ 2 * LANES }>().0;
        for (row, to) in rows.iter().zip(to.as_chunks_mut::<LANES>().0) {
            let (low, high) = row.split_at(LANES);
            *to = words(round(load(low), load(high)));
        }
    }

    /// Lane by lane of two rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn lanes(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        assert_eq!([first.len(), second.len()], [to.len(); 2], "numbers of two rows");
        let (firsts, first) = first.as_chunks::<LANES>();
        let (seconds, second) = second.as_chunks::<LANES>();
        let (whole, rest) = to.as_chunks_mut::<LANES>();
        for ((first, second), to) in firsts.iter().zip(seconds).zip(whole) {
            *to = words(interleave(round(load(first), load(second))));
        }
        // Rows of small maps are shorter than a register.
        if !rest.is_empty() {
            let found = words(interleave(round(load_part(first), load_part(second))));
            rest.copy_from_slice(&found[..rest.len()]);
        }
    }

    /// [`lanes`](Self::lanes) of rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn lanes_of_rows(self, [first, second]: [&[f32]; 2], to: &mut [u32], rows: Rows) {
        for row in 0..rows.rows {
            let from = row * rows.from..row * rows.from + rows.length;
            let to = &mut to[row * rows.to..][..rows.length];
            self.lanes(&first[from.clone()], &second[from], to);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn load(numbers: &[f32]) -> __m512 {
    let numbers = &numbers[..LANES];
    // SAFETY: there are 16 numbers, and the address need not be aligned.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

/// Fewer numbers than a register has, and zeros.
#[target_feature(enable = "avx512f")]
fn load_part(numbers: &[f32]) -> __m512 {
    let mask = (1 << numbers.len().min(LANES - 1)) - 1;
    // SAFETY: so many numbers are there, and no more are read.
    unsafe { _mm512_maskz_loadu_ps(mask, numbers.as_ptr()) }
}

/// Two registers rounded to one, the first one in its lower half.
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512bh {
    _mm512_cvtne2ps_pbh(high, low)
}

/// The halves of a register lane by lane.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(halves: __m512bh) -> __m512bh {
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * LANES) as u16);
    // SAFETY: all types are 64 bytes of which any will do.
    unsafe {
        transmute::<__m512i, __m512bh>(_mm512_permutexvar_epi16(
            transmute::<[u16; 32], __m512i>(order),
            transmute::<__m512bh, __m512i>(halves),
        ))
    }
}

#[target_feature(enable = "avx512f")]
fn words(halves: __m512bh) -> [u32; LANES] {
    // SAFETY: both are 64 bytes of which any will do.
    unsafe { transmute::<__m512bh, [u32; LANES]>(halves) }
}

impl Format for Pairs {
    type Number = u32;
    const HELD: usize = 2;
    // At 5 %, a training step of VGG9 takes 0.9 of the time with 9 that it takes with 3 or 1000.
    const TILE_PRODUCTS: usize = 9;

    fn number(self, first: f32, second: f32) -> u32 {
        half(first) | half(second) << 16
    }

    fn store(self, row: &[f32], to: &mut [u32]) {
        // SAFETY: `detect` found the instructions.
        unsafe { self.neighbours(row, to) };
        let done = to.len() / LANES * LANES;
        for (pair, to) in row[2 * done..].as_chunks().0.iter().zip(&mut to[done..]) {
            let [first, second]: [f32; 2] = *pair;
            *to = self.number(first, second);
        }
    }

    fn join(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        // SAFETY: `detect` found the instructions.
        unsafe { self.lanes(first, second, to) };
    }

    fn join_rows(self, planes: [&[f32]; 2], to: &mut [u32], rows: Rows) {
        // SAFETY: `detect` found the instructions.
        unsafe { self.lanes_of_rows(planes, to, rows) };
    }

    fn dispatch<T: Task<u32>>(self, task: T) -> T::Output {
        // SAFETY: `detect` found the instructions.
        unsafe { self.run(task) }
    }

    fn with_tiles(self, task: impl TileTask) {
        task.run(RowTiles::new(self));
    }
}

impl Registers for Pairs {
    type Sums = f32x16;
    const LANES: usize = LANES;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn zero(self) -> f32x16 {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    fn read(self, from: &[f32]) -> f32x16 {
        V4::as_simd_f32s(&from[..LANES]).0[0]
    }

    #[inline(always)]
    fn write(self, sums: f32x16, to: &mut [f32]) {
        V4::as_mut_simd_f32s(&mut to[..LANES]).0[0] = sums;
    }

    #[inline(always)]
    fn both(self, a: f32x16, b: f32x16) -> f32x16 {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn totals(self, [a, b, c, d]: [f32x16; 4]) -> [f32; 4] {
        // SAFETY: `detect` found the instructions; all types are as large, and any bits will do.
        unsafe {
            transmute::<__m128, [f32; 4]>(totals(transmute::<[f32x16; 4], [__m512; 4]>([
                a, b, c, d,
            ])))
        }
    }

    #[inline(always)]
    fn expand(self, asked: u32, from: &[f32], to: &mut [f32; BLOCK]) {
        // SAFETY: `detect` found the instruction.
        unsafe { expand(asked, from, to) };
    }
}

impl Product<u32> for Pairs {
    type Numbers = u32x16;

    #[inline(always)]
    fn splat(self, number: u32) -> u32x16 {
        self.0.splat_u32s(number)
    }

    #[inline(always)]
    fn load(self, numbers: &[u32]) -> u32x16 {
        V4::as_simd_u32s(&numbers[..LANES]).0[0]
    }

    #[inline(always)]
    fn add(self, a: u32x16, b: u32x16, sums: f32x16) -> f32x16 {
        // SAFETY: `detect` found the instruction; all types are 64 bytes of which any will do.
        unsafe {
            transmute::<__m512, f32x16>(_mm512_dpbf16_ps(
                transmute::<f32x16, __m512>(sums),
                transmute::<u32x16, __m512bh>(a),
                transmute::<u32x16, __m512bh>(b),
            ))
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn totals([a, b, c, d]: [__m512; 4]) -> __m128 {
    let both = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (low, high) = (_mm512_castps_pd(both(a, b)), _mm512_castps_pd(both(c, d)));
    let (even, odd) = (_mm512_unpacklo_pd(low, high), _mm512_unpackhi_pd(low, high));
    let quarters = _mm512_add_ps(_mm512_castpd_ps(even), _mm512_castpd_ps(odd));
    let halves =
        _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
    _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn expand(asked: u32, mut from: &[f32], to: &mut [f32; BLOCK]) {
    for (half, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let asked = (asked >> (half * LANES)) as u16;
        let found = _mm512_maskz_expand_ps(asked, load(from));
        // SAFETY: a row is as long as a register, and need not be aligned.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), found) };
        from = &from[asked.count_ones() as usize..];
    }
}
