//! Packed bfloat16 with AVX512-BF16, whose instruction `vdpbf16ps` multiplies it.

#![allow(unsafe_code, reason = "instructions that `pulp` does not provide")]

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

use super::BLOCK;
use super::accumulators::{Accumulators, Product, Task};
use super::bf16::pack_bf16;
use super::format::{Format, RowCopy};
use super::row_tiles::RowTiles;
use super::tiles::TileTask;

/// Two bfloat16 numbers in each `u32`. A value exists only if the processor has AVX512-BF16.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16(V4);

/// Elements of a register.
const LANES: usize = 16;

/// Whether a multiply-add of packed bfloat16 takes as long as a multiply-add of `f32`. On the one
/// processor by Intel that was measured it takes four times as long.
pub(super) fn is_fast() -> bool {
    let found = __cpuid(0);
    [found.ebx, found.edx, found.ecx].map(u32::to_le_bytes).as_flattened() != b"GenuineIntel"
}

impl Avx512Bf16 {
    /// The format, if the processor has the instructions.
    pub fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avx512bf16") { V4::try_new().map(Self) } else { None }
    }

    /// Compiles `task` for all instructions that `V4` has detected, and AVX512-BF16.
    #[target_feature(enable = "fma,bmi1,bmi2,lzcnt,popcnt")]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn run<T: Task<u32>>(self, task: T) -> T::Output {
        task.run(self)
    }

    /// Packs a row; elements after the last whole register are not written.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn pack_registers(self, row: &[f32], to: &mut [u32]) {
        let rows = row.as_chunks::<{ 2 * LANES }>().0;
        for (row, to) in rows.iter().zip(to.as_chunks_mut::<LANES>().0) {
            let (low, high) = row.split_at(LANES);
            *to = words(round(load(low), load(high)));
        }
    }

    /// Packs two rows: element `i` contains `first[i]` and `second[i]`.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn interleave_registers(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        assert_eq!([first.len(), second.len()], [to.len(); 2], "elements of two rows");
        let (firsts, first) = first.as_chunks::<LANES>();
        let (seconds, second) = second.as_chunks::<LANES>();
        let (whole, rest) = to.as_chunks_mut::<LANES>();
        for ((first, second), to) in firsts.iter().zip(seconds).zip(whole) {
            *to = words(interleave(round(load(first), load(second))));
        }
        // A row of a small feature map is shorter than a register.
        if !rest.is_empty() {
            let found = words(interleave(round(load_part(first), load_part(second))));
            rest.copy_from_slice(&found[..rest.len()]);
        }
    }

    /// Calls [`interleave_registers`](Self::interleave_registers) for each row.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
    fn interleave_planes(self, [first, second]: [&[f32]; 2], to: &mut [u32], rows: RowCopy) {
        for row in 0..rows.rows {
            let from = row * rows.from_pitch..row * rows.from_pitch + rows.length;
            let to = &mut to[row * rows.to_pitch..][..rows.length];
            self.interleave_registers(&first[from.clone()], &second[from], to);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn load(numbers: &[f32]) -> __m512 {
    let numbers = &numbers[..LANES];
    // SAFETY: there are 16 numbers, and the address need not be aligned.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

/// Loads fewer numbers than a register has; the other lanes are zero.
#[target_feature(enable = "avx512f")]
fn load_part(numbers: &[f32]) -> __m512 {
    let mask = (1 << numbers.len().min(LANES - 1)) - 1;
    // SAFETY: the mask has at most as many bits as there are numbers, and no other lane is read.
    unsafe { _mm512_maskz_loadu_ps(mask, numbers.as_ptr()) }
}

/// Rounds two registers to one; `low` becomes its lower half.
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512bh {
    _mm512_cvtne2ps_pbh(high, low)
}

/// Interleaves the lower and the upper half of a register.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(numbers: __m512bh) -> __m512bh {
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * LANES) as u16);
    // SAFETY: all types have 64 bytes, and any bits are valid for each.
    unsafe {
        transmute::<__m512i, __m512bh>(_mm512_permutexvar_epi16(
            transmute::<[u16; 32], __m512i>(order),
            transmute::<__m512bh, __m512i>(numbers),
        ))
    }
}

#[target_feature(enable = "avx512f")]
fn words(numbers: __m512bh) -> [u32; LANES] {
    // SAFETY: both types have 64 bytes, and any bits are valid for each.
    unsafe { transmute::<__m512bh, [u32; LANES]>(numbers) }
}

impl Format for Avx512Bf16 {
    type Element = u32;
    const PACKED: usize = 2;
    // At a firing rate of 5 %, a training step of VGG9 takes 0.9 of the time with 9 that it takes
    // with 3 or 1000.
    const TILE_PRODUCTS_PER_EVENT: usize = 9;

    fn pack(self, first: f32, second: f32) -> u32 {
        pack_bf16(first, second)
    }

    fn pack_row(self, row: &[f32], to: &mut [u32]) {
        // SAFETY: `detect` found the instructions.
        unsafe { self.pack_registers(row, to) };
        let done = to.len() / LANES * LANES;
        for (pair, to) in row[2 * done..].as_chunks().0.iter().zip(&mut to[done..]) {
            let [first, second]: [f32; 2] = *pair;
            *to = self.pack(first, second);
        }
    }

    fn interleave(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        // SAFETY: `detect` found the instructions.
        unsafe { self.interleave_registers(first, second, to) };
    }

    fn interleave_rows(self, planes: [&[f32]; 2], to: &mut [u32], rows: RowCopy) {
        // SAFETY: `detect` found the instructions.
        unsafe { self.interleave_planes(planes, to, rows) };
    }

    fn dispatch<T: Task<u32>>(self, task: T) -> T::Output {
        // SAFETY: `detect` found the instructions.
        unsafe { self.run(task) }
    }

    fn with_tiles(self, task: impl TileTask) {
        task.run(RowTiles::new(self));
    }
}

impl Accumulators for Avx512Bf16 {
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
    fn add_sums(self, a: f32x16, b: f32x16) -> f32x16 {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn horizontal_sums(self, [a, b, c, d]: [f32x16; 4]) -> [f32; 4] {
        // SAFETY: `detect` found the instructions. Types have the same size, and any bits are
        // valid.
        unsafe {
            transmute::<__m128, [f32; 4]>(horizontal_sums(transmute::<[f32x16; 4], [__m512; 4]>([
                a, b, c, d,
            ])))
        }
    }

    #[inline(always)]
    fn expand(self, mask: u32, from: &[f32], to: &mut [f32; BLOCK]) {
        // SAFETY: `detect` found the instruction.
        unsafe { expand(mask, from, to) };
    }
}

impl Product<u32> for Avx512Bf16 {
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
        // SAFETY: `detect` found the instruction. All types have 64 bytes, and any bits are valid.
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
fn horizontal_sums([a, b, c, d]: [__m512; 4]) -> __m128 {
    let both = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (low, high) = (_mm512_castps_pd(both(a, b)), _mm512_castps_pd(both(c, d)));
    let (even, odd) = (_mm512_unpacklo_pd(low, high), _mm512_unpackhi_pd(low, high));
    let quarters = _mm512_add_ps(_mm512_castpd_ps(even), _mm512_castpd_ps(odd));
    let folded =
        _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
    _mm_add_ps(_mm256_castps256_ps128(folded), _mm256_extractf128_ps::<1>(folded))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn expand(mask: u32, mut from: &[f32], to: &mut [f32; BLOCK]) {
    for (register, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mask = (mask >> (register * LANES)) as u16;
        let found = _mm512_maskz_expand_ps(mask, load(from));
        // SAFETY: `to` is as long as a register, and need not be aligned.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), found) };
        from = &from[mask.count_ones() as usize..];
    }
}
