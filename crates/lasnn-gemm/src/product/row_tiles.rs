//! Tiles in vector registers, for processors without AMX.
//!
//! The sums are in the first-level cache. A few rows of them are in registers while products are
//! added to them.

#![allow(unsafe_code, reason = "unchecked reads in the innermost loop")]

use super::SIDE;
use super::accumulators::{Product, Task};
use super::format::Format;
use super::masked::{self, MaskedProduct};
use super::tiles::{Operand, TileLayout, Tiles};

/// Products that are added to a few rows before these products are added to the next rows.
const PRODUCTS: usize = 32;

/// The sums of two tiles side by side.
type Sums = [[[f32; SIDE]; SIDE]; 2];

/// The sums of 2×2 tiles: two rows of two tiles.
#[repr(C, align(64))]
pub(super) struct RowTiles<F> {
    sums: [Sums; 2],
    /// Memory for [`Tiles::masked_product`].
    buffer: Vec<f32>,
    format: F,
}

impl<F: Format<Element = u32>> RowTiles<F> {
    /// Tiles whose sums are zero.
    pub fn new(format: F) -> Self {
        Self { sums: [[[[0.0; SIDE]; SIDE]; 2]; 2], buffer: Vec::new(), format }
    }
}

impl<F: Format<Element = u32>> Tiles for RowTiles<F> {
    const HAS_MASKED_PRODUCT: bool = true;

    fn zero(&mut self) {
        self.sums = [[[[0.0; SIDE]; SIDE]; 2]; 2];
    }

    fn load(&mut self, [rows, columns]: [usize; 2], from: &[f32], layout: TileLayout) {
        for (row, sums) in self.sums[..rows].iter_mut().enumerate() {
            for (column, sums) in sums[..columns].iter_mut().enumerate() {
                let from = &from[row * layout.down + column * layout.right..];
                for (index, sums) in sums.iter_mut().enumerate() {
                    sums.copy_from_slice(&from[index * layout.pitch..][..SIDE]);
                }
            }
        }
    }

    fn add<'a>(
        &mut self,
        [rows, columns]: [usize; 2],
        mut products: impl Iterator<Item = [Operand<'a>; 2]>,
    ) {
        // `products` is read in advance: a call in the loop over rows would spill registers.
        let mut buffer = [[Operand::default(); 2]; PRODUCTS];
        loop {
            let mut count = 0;
            for (to, product) in buffer.iter_mut().zip(&mut products) {
                *to = product;
                count += 1;
            }
            for (tile, sums) in self.sums[..rows].iter_mut().enumerate() {
                self.format.dispatch(Add { sums, tile, columns, products: &buffer[..count] });
            }
            if count < PRODUCTS {
                return;
            }
        }
    }

    fn store(&mut self, [rows, columns]: [usize; 2], to: &mut [f32], layout: TileLayout) {
        for (row, sums) in self.sums[..rows].iter().enumerate() {
            for (column, sums) in sums[..columns].iter().enumerate() {
                let to = &mut to[row * layout.down + column * layout.right..];
                for (index, sums) in sums.iter().enumerate() {
                    to[index * layout.pitch..][..SIDE].copy_from_slice(sums);
                }
            }
        }
    }

    fn prefers_masked(&self, needed: usize, rows: usize, products: usize) -> bool {
        masked::is_faster(needed, rows, products)
    }

    fn masked_product(&mut self, needed: &[u32], products: &[[&[u32]; 2]], sums: &mut [f32]) {
        let buffer = &mut self.buffer;
        self.format.dispatch(MaskedProduct { needed, products, buffer, sums });
    }
}

/// Adds products of one tile of the left operands to the sums of one or two tiles.
struct Add<'a> {
    sums: &'a mut Sums,
    /// The tile of the left operands: 0 or 1.
    tile: usize,
    /// Tiles of the right operands: 1 or 2.
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
        // The sums of the rows take about half of all registers.
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

/// Adds products to the sums of one or two tiles, `ROWS` rows at a time.
///
/// `sums` are the sums of the tiles from the `column`-th tile of the right operands on. A row of
/// all of these tiles takes `REGISTERS` registers.
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
                    // SAFETY: `run` has checked the operand, so its slice contains the row.
                    *to = product.load(unsafe { tile.get_unchecked(at..at + P::LANES) });
                }
                for (row, held) in held.iter_mut().enumerate() {
                    let at = (first + row) * left.pitch + depth;
                    // SAFETY: `run` has checked the operand, so its slice contains the row.
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
