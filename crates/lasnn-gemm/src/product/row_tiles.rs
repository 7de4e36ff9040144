//! Tiles where the processor has no registers for them: sums are in the nearest cache, and some rows of them in
//! registers while all products are added.

#![allow(unsafe_code, reason = "unchecked reads in the innermost loop")]

use super::some::{self, SomeSums};
use super::tiles::{Operand, Place, SIDE, Tiles};
use super::{Format, Product, Task};

/// Products that are added for some rows before they are for the next ones.
const TOGETHER: usize = 32;

/// Two tiles of sums side by side.
type Sums = [[[f32; SIDE]; SIDE]; 2];

/// Sums of 2 x 2 tiles, by row of tiles and column of tiles.
#[repr(C, align(64))]
pub(super) struct RowTiles<F> {
    sums: [Sums; 2],
    /// Memory for [`Tiles::some`].
    found: Vec<f32>,
    format: F,
}

impl<F: Format<Number = u32>> RowTiles<F> {
    /// Sums of nothing.
    pub fn new(format: F) -> Self {
        Self { sums: [[[[0.0; SIDE]; SIDE]; 2]; 2], found: Vec::new(), format }
    }
}

impl<F: Format<Number = u32>> Tiles for RowTiles<F> {
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

    fn add<'a>(
        &mut self,
        [rows, columns]: [usize; 2],
        mut products: impl Iterator<Item = [Operand<'a>; 2]>,
    ) {
        // The loop over products calls nothing, so that registers stay.
        let mut known = [[Operand::default(); 2]; TOGETHER];
        loop {
            let mut count = 0;
            for (to, product) in known.iter_mut().zip(&mut products) {
                *to = product;
                count += 1;
            }
            for (tile, sums) in self.sums[..rows].iter_mut().enumerate() {
                self.format.dispatch(Add { sums, tile, columns, products: &known[..count] });
            }
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
        self.format.dispatch(SomeSums { asked, products, found: &mut self.found, sums });
    }
}

/// Adds products of the `tile`-th tile on the left to the sums of one or two columns.
struct Add<'a> {
    sums: &'a mut Sums,
    tile: usize,
    columns: usize,
    products: &'a [[Operand<'a>; 2]],
}

impl Task<u32> for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<u32>>(self, product: P) {
        let Self { sums, tile, columns, products } = self;
        for [left, right] in products {
            left.checked(tile + 1);
            right.checked(columns);
        }
        // As many rows as have their sums in half of all registers, or nearly.
        match (SIDE / P::LANES, columns) {
            (1, 1) => add_rows::<P, 1, 8>(product, &mut sums[..1], tile, 0, products),
            (1, _) => add_rows::<P, 2, 8>(product, &mut sums[..], tile, 0, products),
            (registers, _) => {
                for (column, sums) in sums[..columns].iter_mut().enumerate() {
                    let sums = std::slice::from_mut(sums);
                    match registers {
                        2 => add_rows::<P, 2, 4>(product, sums, tile, column, products),
                        4 => add_rows::<P, 4, 4>(product, sums, tile, column, products),
                        _ => add_rows::<P, SIDE, 1>(product, sums, tile, column, products),
                    }
                }
            }
        }
    }
}

/// Adds to the sums of tiles from the `column`-th on the right on: `REGISTERS` for a row of all of them, `ROWS`
/// at a time.
#[inline(always)]
fn add_rows<P: Product<u32>, const REGISTERS: usize, const ROWS: usize>(
    product: P,
    sums: &mut [[[f32; SIDE]; SIDE]],
    tile: usize,
    column: usize,
    products: &[[Operand<'_>; 2]],
) {
    let of_tile = SIDE / P::LANES;
    for first in (0..SIDE).step_by(ROWS) {
        let mut held = [[product.zero(); REGISTERS]; ROWS];
        for (row, held) in held.iter_mut().enumerate() {
            for (register, held) in held.iter_mut().enumerate() {
                let from = &sums[register / of_tile][first + row];
                *held = product.read(&from[register % of_tile * P::LANES..]);
            }
        }
        for [left, right] in products {
            for depth in 0..SIDE {
                let mut rights = [product.splat(0); REGISTERS];
                for (register, to) in rights.iter_mut().enumerate() {
                    let tile = right.tiles[column + register / of_tile];
                    let at = depth * right.pitch + register % of_tile * P::LANES;
                    // SAFETY: `run` has checked the operand, so the row is there.
                    *to = product.load(unsafe { tile.get_unchecked(at..at + P::LANES) });
                }
                for (row, held) in held.iter_mut().enumerate() {
                    let at = (first + row) * left.pitch + depth;
                    // SAFETY: `run` has checked the operand, so the row is there.
                    let value = product.splat(unsafe { *left.tiles[tile].get_unchecked(at) });
                    for (sum, &right) in held.iter_mut().zip(&rights) {
                        *sum = product.add(value, right, *sum);
                    }
                }
            }
        }
        for (row, held) in held.iter().enumerate() {
            for (register, &held) in held.iter().enumerate() {
                let to = &mut sums[register / of_tile][first + row];
                product.write(held, &mut to[register % of_tile * P::LANES..]);
            }
        }
    }
}
