//! Tiles in scalar code, so that the code for AMX can be tested on every machine.

use super::accumulators::Task;
use super::bf16::pack_bf16;
use super::format::Format;
use super::tiles::{Operand, TileLayout, TileTask, Tiles, check_masked};
use super::{BLOCK, SIDE};

/// A format that computes all products in tiles, as [`Amx`](super::amx::Amx) does.
#[derive(Clone, Copy)]
pub(super) struct EmulatedTiles;

impl Format for EmulatedTiles {
    type Element = u32;
    const PACKED: usize = 2;
    const TILED: bool = true;
    const TILE_PRODUCTS_PER_EVENT: usize = 32;

    fn pack(self, first: f32, second: f32) -> u32 {
        pack_bf16(first, second)
    }

    fn pack_row(self, row: &[f32], to: &mut [u32]) {
        for (pair, to) in row.as_chunks().0.iter().zip(to) {
            let [first, second]: [f32; 2] = *pair;
            *to = self.pack(first, second);
        }
    }

    fn interleave(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        for ((to, &first), &second) in to.iter_mut().zip(first).zip(second) {
            *to = self.pack(first, second);
        }
    }

    fn dispatch<T: Task<u32>>(self, _: T) -> T::Output {
        unreachable!("this format computes all products in tiles")
    }

    fn with_tiles(self, task: impl TileTask) {
        task.run(Sums([[0.0; 2 * SIDE]; 2 * SIDE]));
    }
}

struct Sums([[f32; 2 * SIDE]; 2 * SIDE]);

impl Tiles for Sums {
    const HAS_MASKED_PRODUCT: bool = true;

    fn zero(&mut self) {
        self.0 = [[0.0; 2 * SIDE]; 2 * SIDE];
    }

    fn load(&mut self, [rows, columns]: [usize; 2], from: &[f32], layout: TileLayout) {
        assert!(layout.end([rows, columns]) <= from.len(), "tiles of sums");
        for row in 0..rows * SIDE {
            for column in 0..columns * SIDE {
                self.0[row][column] = from[index(layout, row, column)];
            }
        }
    }

    fn add<'a>(
        &mut self,
        [rows, columns]: [usize; 2],
        products: impl Iterator<Item = [Operand<'a>; 2]>,
    ) {
        for [left, right] in products {
            left.checked(rows);
            right.checked(columns);
            for row in 0..rows * SIDE {
                for column in 0..columns * SIDE {
                    for k in 0..SIDE {
                        let a = left.tiles[row / SIDE][row % SIDE * left.pitch + k];
                        let b = right.tiles[column / SIDE][k * right.pitch + column % SIDE];
                        let ([a, c], [b, d]) = (unpack(a), unpack(b));
                        self.0[row][column] += a * b + c * d;
                    }
                }
            }
        }
    }

    fn store(&mut self, [rows, columns]: [usize; 2], to: &mut [f32], layout: TileLayout) {
        assert!(layout.end([rows, columns]) <= to.len(), "tiles of sums");
        for row in 0..rows * SIDE {
            for column in 0..columns * SIDE {
                to[index(layout, row, column)] = self.0[row][column];
            }
        }
    }

    fn prefers_masked(&self, needed: usize, rows: usize, _: usize) -> bool {
        2 * needed < rows * BLOCK
    }

    fn masked_product(&mut self, needed: &[u32], products: &[[&[u32]; 2]], sums: &mut [f32]) {
        check_masked(needed.len(), products, sums);
        for (index, sum) in sums.iter_mut().enumerate() {
            let (row, lane) = (index / BLOCK, index % BLOCK);
            *sum = 0.0;
            if needed[row] >> lane & 1 == 0 {
                continue;
            }
            for [left, right] in products {
                for (&left, &right) in left[row * SIDE..][..SIDE].iter().zip(&right[lane * SIDE..])
                {
                    let ([a, c], [b, d]) = (unpack(left), unpack(right));
                    *sum += a * b + c * d;
                }
            }
        }
    }
}

/// The two numbers of a packed element.
fn unpack(packed: u32) -> [f32; 2] {
    [packed << 16, packed & 0xffff_0000].map(f32::from_bits)
}

/// The index of a sum in a slice.
fn index(layout: TileLayout, row: usize, column: usize) -> usize {
    let down = row / SIDE * layout.down + row % SIDE * layout.pitch;
    down + column / SIDE * layout.right + column % SIDE
}
