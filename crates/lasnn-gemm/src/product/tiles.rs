//! Products of tiles: a matrix of sums that adds up products of matrices, where the processor has
//! registers for them.

use super::BLOCK;
use super::single::half;
use super::{Format, Task};

/// Rows of a tile, its columns, and how many numbers a product of tiles is deep.
pub const SIDE: usize = 16;

/// What is done with tiles.
pub trait TileTask {
    /// Does it.
    fn run<T: Tiles>(self, tiles: T);
}

/// Sums of up to 2 x 2 tiles. `size` is how many tiles they have along rows and columns, 1 or 2.
pub trait Tiles {
    /// Whether [`Self::some`] may take less time than all sums do.
    const CHOOSES: bool = false;

    /// Sums of nothing.
    fn zero(&mut self);

    /// Sums of what is there already.
    fn load(&mut self, size: [usize; 2], from: &[f32], place: Place);

    /// Adds products, one after the other: of [`SIDE`] numbers of each row on the left with so many rows on
    /// the right.
    fn add<'a>(&mut self, size: [usize; 2], products: impl Iterator<Item = [Operand<'a>; 2]>);

    /// Writes the sums.
    fn store(&mut self, size: [usize; 2], to: &mut [f32], place: Place);

    /// Whether it does where so many sums are asked for, of so many rows, and a sum adds up so many products.
    fn prefers_some(&self, _asked: usize, _rows: usize, _products: usize) -> bool {
        false
    }

    /// Writes rows of a [`BLOCK`] of sums of which some are asked for, by row a bit for each, and zeros for the
    /// others. A sum adds up products of the [`SIDE`] numbers of its row on the left with those of its row on
    /// the right.
    fn some(&mut self, _asked: &[u32], _products: &[[&[u32]; 2]], _sums: &mut [f32]) {
        unreachable!("tiles that compute all sums")
    }
}

/// Asserts that the numbers of all rows are there.
pub(super) fn check_rows(rows: usize, products: &[[&[u32]; 2]], sums: &[f32]) {
    assert_eq!(rows * BLOCK, sums.len(), "sums of all rows");
    for [left, right] in products {
        let [least, found] = [[rows, BLOCK].map(|rows| rows * SIDE), [left.len(), right.len()]];
        assert!(least[0] <= found[0] && least[1] <= found[1], "numbers of all rows");
    }
}

/// One or two tiles: [`SIDE`] rows of as many numbers.
#[derive(Clone, Copy, Default)]
pub struct Operand<'a> {
    /// From the first number of each tile on.
    pub tiles: [&'a [u32]; 2],
    /// From one row to the next.
    pub pitch: usize,
}

impl<'a> Operand<'a> {
    /// A tile and, if there is one, the other that begins so many numbers behind it.
    pub fn new(numbers: &'a [u32], pitch: usize, second: usize) -> Self {
        Self { tiles: [numbers, numbers.get(second..).unwrap_or_default()], pitch }
    }

    /// The addresses of so many tiles, which lie in their slices.
    pub fn checked(&self, tiles: usize) -> [*const u32; 2] {
        for tile in &self.tiles[..tiles] {
            assert!((SIDE - 1) * self.pitch + SIDE <= tile.len(), "numbers of a tile");
        }
        self.tiles.map(<[u32]>::as_ptr)
    }
}

/// Where sums are.
#[derive(Clone, Copy)]
pub struct Place {
    /// From one row to the next.
    pub pitch: usize,
    /// From a tile to the one below.
    pub down: usize,
    /// From a tile to the one on its right.
    pub right: usize,
}

impl Place {
    /// In a matrix of rows of `pitch`.
    pub fn matrix(pitch: usize) -> Self {
        Self { pitch, down: SIDE * pitch, right: SIDE }
    }

    /// Where the last of so many tiles ends.
    #[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
    pub fn end(self, [rows, columns]: [usize; 2]) -> usize {
        (rows - 1) * self.down + (columns - 1) * self.right + (SIDE - 1) * self.pitch + SIDE
    }
}

/// How many tiles are taken together, of `length` numbers of which `done` are done.
pub fn tiles_left(done: usize, length: usize) -> usize {
    ((length - done) / SIDE).min(2)
}

/// The same in plain numbers, so that what is done with tiles is tested everywhere.
#[derive(Clone, Copy)]
pub(super) struct Emulated;

impl Format for Emulated {
    type Number = u32;
    const HELD: usize = 2;
    const TILED: bool = true;
    const TILE_PRODUCTS: usize = 32;

    fn number(self, first: f32, second: f32) -> u32 {
        half(first) | half(second) << 16
    }

    fn store(self, row: &[f32], to: &mut [u32]) {
        for (pair, to) in row.as_chunks().0.iter().zip(to) {
            let [first, second]: [f32; 2] = *pair;
            *to = self.number(first, second);
        }
    }

    fn join(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        for ((to, &first), &second) in to.iter_mut().zip(first).zip(second) {
            *to = self.number(first, second);
        }
    }

    fn dispatch<T: Task<u32>>(self, _: T) -> T::Output {
        unreachable!("everything is done with tiles")
    }

    fn with_tiles(self, task: impl TileTask) {
        task.run(EmulatedTiles([[0.0; 2 * SIDE]; 2 * SIDE]));
    }
}

struct EmulatedTiles([[f32; 2 * SIDE]; 2 * SIDE]);

impl Tiles for EmulatedTiles {
    const CHOOSES: bool = true;

    fn zero(&mut self) {
        self.0 = [[0.0; 2 * SIDE]; 2 * SIDE];
    }

    fn load(&mut self, [rows, columns]: [usize; 2], from: &[f32], place: Place) {
        assert!(place.end([rows, columns]) <= from.len());
        for row in 0..rows * SIDE {
            for column in 0..columns * SIDE {
                self.0[row][column] = from[at(place, row, column)];
            }
        }
    }

    fn add<'a>(
        &mut self,
        [rows, columns]: [usize; 2],
        products: impl Iterator<Item = [Operand<'a>; 2]>,
    ) {
        let halves = |pair: u32| [pair << 16, pair & 0xffff_0000].map(f32::from_bits);
        for [left, right] in products {
            left.checked(rows);
            right.checked(columns);
            for row in 0..rows * SIDE {
                for column in 0..columns * SIDE {
                    for k in 0..SIDE {
                        let a = left.tiles[row / SIDE][row % SIDE * left.pitch + k];
                        let b = right.tiles[column / SIDE][k * right.pitch + column % SIDE];
                        let ([a, c], [b, d]) = (halves(a), halves(b));
                        self.0[row][column] += a * b + c * d;
                    }
                }
            }
        }
    }

    fn store(&mut self, [rows, columns]: [usize; 2], to: &mut [f32], place: Place) {
        assert!(place.end([rows, columns]) <= to.len());
        for row in 0..rows * SIDE {
            for column in 0..columns * SIDE {
                to[at(place, row, column)] = self.0[row][column];
            }
        }
    }

    fn prefers_some(&self, asked: usize, rows: usize, _: usize) -> bool {
        2 * asked < rows * BLOCK
    }

    fn some(&mut self, asked: &[u32], products: &[[&[u32]; 2]], sums: &mut [f32]) {
        check_rows(asked.len(), products, sums);
        let halves = |pair: u32| [pair << 16, pair & 0xffff_0000].map(f32::from_bits);
        for (index, sum) in sums.iter_mut().enumerate() {
            let (row, lane) = (index / BLOCK, index % BLOCK);
            *sum = 0.0;
            if asked[row] >> lane & 1 == 0 {
                continue;
            }
            for [left, right] in products {
                for (&left, &right) in left[row * SIDE..][..SIDE].iter().zip(&right[lane * SIDE..])
                {
                    let ([a, c], [b, d]) = (halves(left), halves(right));
                    *sum += a * b + c * d;
                }
            }
        }
    }
}

fn at(place: Place, row: usize, column: usize) -> usize {
    let down = row / SIDE * place.down + row % SIDE * place.pitch;
    down + column / SIDE * place.right + column % SIDE
}
