//! Tiles where the processor multiplies pairs only (AVX512-BF16): sums are in the nearest cache, and some rows
//! of them in registers while all products are added.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_storeu_ps,
};
use std::mem::transmute;

use super::pairs::Pairs;
use super::some;
use super::tiles::{Operand, Place, SIDE, Tiles, check_rows};

/// Rows whose sums are in registers at once: with two tiles side by side, half of all registers.
const ROWS: usize = 8;

/// Products that are added for some rows before they are for the next ones.
const TOGETHER: usize = 32;

/// Sums of 2 x 2 tiles, by row of tiles and column of tiles.
#[repr(C, align(64))]
pub(super) struct PairTiles {
    sums: [[[[f32; SIDE]; SIDE]; 2]; 2],
    /// Memory for [`Tiles::some`].
    found: Vec<f32>,
}

impl PairTiles {
    /// Sums of nothing, on a processor that has the instructions.
    pub fn new(_: Pairs) -> Self {
        Self { sums: [[[[0.0; SIDE]; SIDE]; 2]; 2], found: Vec::new() }
    }

    fn add_all(&mut self, [rows, columns]: [usize; 2], products: &[[Operand<'_>; 2]]) {
        for (tile, sums) in self.sums[..rows].iter_mut().enumerate() {
            for first in (0..SIDE).step_by(ROWS) {
                let from = (tile, first);
                // SAFETY: whoever made `self` has the instructions.
                unsafe {
                    match columns {
                        1 => add_rows::<1>(sums, from, products),
                        _ => add_rows::<2>(sums, from, products),
                    }
                }
            }
        }
    }
}

/// Adds to [`ROWS`] rows of tiles side by side, from the row `first` of the `tile`-th tile on the left on.
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_rows<const COLUMNS: usize>(
    sums: &mut [[[f32; SIDE]; SIDE]; 2],
    (tile, first): (usize, usize),
    products: &[[Operand<'_>; 2]],
) {
    let mut held: [[__m512; COLUMNS]; ROWS] = std::array::from_fn(|row| {
        // SAFETY: a row is as long as a register, and need not be aligned.
        std::array::from_fn(|column| unsafe { _mm512_loadu_ps(sums[column][first + row].as_ptr()) })
    });
    for [left, right] in products {
        let (lefts, rights) = (left.checked(tile + 1), right.checked(COLUMNS));
        for depth in 0..SIDE {
            let rights: [__m512bh; COLUMNS] = std::array::from_fn(|column| {
                // SAFETY: `checked` found the rows of the tile; all types are 64 bytes of which any will do.
                unsafe {
                    let row = rights[column].add(depth * right.pitch);
                    transmute::<__m512i, __m512bh>(_mm512_loadu_si512(row.cast()))
                }
            });
            for (row, held) in held.iter_mut().enumerate() {
                // SAFETY: `checked` found the rows of the tile; the types as above.
                let left = unsafe {
                    let number = *lefts[tile].add((first + row) * left.pitch + depth);
                    transmute::<__m512i, __m512bh>(_mm512_set1_epi32(number.cast_signed()))
                };
                for (held, &right) in held.iter_mut().zip(&rights) {
                    *held = _mm512_dpbf16_ps(*held, left, right);
                }
            }
        }
    }
    for (row, held) in held.iter().enumerate() {
        for (column, &held) in held.iter().enumerate() {
            // SAFETY: as where they were loaded.
            unsafe { _mm512_storeu_ps(sums[column][first + row].as_mut_ptr(), held) };
        }
    }
}

impl Tiles for PairTiles {
    const CHOOSES: bool = true;

    fn zero(&mut self) {
        self.sums = [[[[0.0; SIDE]; SIDE]; 2]; 2];
    }

    fn load(&mut self, [rows, columns]: [usize; 2], from: &[f32], place: Place) {
        for (row, sums) in self.sums[..rows].iter_mut().enumerate() {
            for (column, sums) in sums[..columns].iter_mut().enumerate() {
                let from = &from[row * place.down + column * place.right..];
                for (index, sums) in sums.iter_mut().enumerate() {
                    sums.copy_from_slice(&from[index * place.pitch..][..SIDE]);
                }
            }
        }
    }

    fn add<'a>(&mut self, size: [usize; 2], mut products: impl Iterator<Item = [Operand<'a>; 2]>) {
        // The loop over products calls nothing, so that registers stay.
        let mut known = [[Operand::default(); 2]; TOGETHER];
        loop {
            let mut count = 0;
            for (to, product) in known.iter_mut().zip(&mut products) {
                *to = product;
                count += 1;
            }
            self.add_all(size, &known[..count]);
            if count < TOGETHER {
                return;
            }
        }
    }

    fn store(&mut self, [rows, columns]: [usize; 2], to: &mut [f32], place: Place) {
        for (row, sums) in self.sums[..rows].iter().enumerate() {
            for (column, sums) in sums[..columns].iter().enumerate() {
                let to = &mut to[row * place.down + column * place.right..];
                for (index, sums) in sums.iter().enumerate() {
                    to[index * place.pitch..][..SIDE].copy_from_slice(sums);
                }
            }
        }
    }

    fn prefers_some(&self, asked: usize, rows: usize, products: usize) -> bool {
        some::are_faster(asked, rows, products)
    }

    fn some(&mut self, asked: &[u32], products: &[[&[u32]; 2]], sums: &mut [f32]) {
        check_rows(asked.len(), products, sums);
        // SAFETY: whoever made `self` has the instructions, and the numbers of all rows are there.
        unsafe { some::compute(asked, products, &mut self.found, sums) };
    }
}
