//! Products in registers, summed in `f32`.
//!
//! What is multiplied is `f32`, or rounded to bfloat16: 8 bits of mantissa with the exponents of
//! `f32`. Pairs of those take one instruction for two products where the processor has it
//! (AVX512-BF16), and matrices of 16 by 16 pairs take one instruction where it has tiles (AMX-BF16).
//! Where not, they are multiplied as the `f32` numbers that they are; only the order of the sums
//! differs.

use pulp::bytemuck::Pod;
use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::level::Level;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod halves;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod row_tiles;
mod rows;
mod single;
mod some;
#[cfg(test)]
mod tests;
mod tiles;
mod vectors;

use halves::Halves;
pub(crate) use halves::lanes as pairs_of;
pub(crate) use rows::{BLOCK, TOGETHER, rows_by_block, stretch};
use single::Single;
pub(crate) use single::half;
#[cfg(test)]
use tiles::Emulated;
pub(crate) use tiles::{Operand, Place, SIDE, TileTask, Tiles, tiles_left};

/// What dense products multiply; they add up in `f32` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Weights, activations and gradients as they are.
    #[default]
    F32,
    /// Weights, activations and gradients rounded to bfloat16, an error of at most 1/256 of each.
    Bf16,
}

impl Precision {
    /// How much cheaper than a product of two `f32` numbers one of these is in registers.
    pub(crate) fn speed(self) -> f64 {
        self.run(Kind).held as f64
    }

    /// Whether all products of these are in tiles.
    pub(crate) fn is_tiled(self) -> bool {
        self.run(Kind).tiled
    }

    /// Hands the format to a job: the fastest that the processor has for these numbers.
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        match self {
            Self::F32 => job.run(Single { rounded: false }),
            Self::Bf16 => instructions().run(job, Single { rounded: true }),
        }
    }
}

/// Hands the format that the processor has for tiles of bfloat16 to a job.
pub(crate) fn tiled<J: Job>(job: J) -> J::Output {
    instructions().run(job, Halves)
}

/// Runs a task with the tiles of this thread.
pub(crate) fn with_tiles(task: impl TileTask) {
    struct Run<T>(T);
    impl<T: TileTask> Job for Run<T> {
        type Output = ();

        fn run<F: Format>(self, format: F) {
            format.with_tiles(self.0);
        }
    }
    tiled(Run(task));
}

/// See [`Format::TILE_PRODUCTS`].
pub(crate) fn tile_products() -> usize {
    tiled(Kind).tile_products
}

/// What the processor has for bfloat16.
enum Instructions {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles(amx::Amx),
    #[cfg(target_arch = "x86_64")]
    Pairs(pairs::Pairs),
    #[cfg(test)]
    Emulated,
    None,
}

impl Instructions {
    /// Hands their format to a job, or another one where there are none.
    fn run<J: Job>(self, job: J, none: impl Format) -> J::Output {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles(amx) => job.run(amx),
            #[cfg(target_arch = "x86_64")]
            Self::Pairs(pairs) => job.run(pairs),
            #[cfg(test)]
            Self::Emulated => job.run(Emulated),
            Self::None => job.run(none),
        }
    }
}

fn instructions() -> Instructions {
    #[cfg(test)]
    if let Some(level) = Level::forced() {
        return forced(level);
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(amx) = amx::Amx::detect() {
        return Instructions::Tiles(amx);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(pairs) = pairs::Pairs::detect().filter(|_| pairs::are_fast()) {
        return Instructions::Pairs(pairs);
    }
    Instructions::None
}

/// Those of a level that a test forces.
#[cfg(test)]
fn forced(level: Level) -> Instructions {
    match level {
        Level::EmulatedTiles => Instructions::Emulated,
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Level::Tiles => {
            Instructions::Tiles(amx::Amx::detect().unwrap_or_else(|| panic!("no tiles here")))
        }
        #[cfg(target_arch = "x86_64")]
        Level::Pairs => {
            Instructions::Pairs(pairs::Pairs::detect().unwrap_or_else(|| panic!("no pairs here")))
        }
        _ => Instructions::None,
    }
}

/// What there is to know about a format.
struct Kind;

struct Known {
    held: usize,
    tiled: bool,
    tile_products: usize,
}

impl Job for Kind {
    type Output = Known;

    fn run<F: Format>(self, _: F) -> Known {
        Known { held: F::HELD, tiled: F::TILED, tile_products: F::TILE_PRODUCTS }
    }
}

/// A number rounded to bfloat16.
pub(crate) fn bfloat16(number: f32) -> f32 {
    f32::from_bits(half(number) << 16)
}

/// The number that 16 bits of bfloat16 stand for.
#[inline(always)]
pub(crate) fn widened(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Two numbers rounded to bfloat16, as tiles have them.
#[inline(always)]
pub(crate) fn pair(first: f32, second: f32) -> u32 {
    half(first) | half(second) << 16
}

/// Whether the processor has registers for tiles.
pub(crate) fn has_tiles() -> bool {
    tiled(Kind).tiled
}

/// Whether the processor multiplies pairs, fast or not.
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn has_pairs() -> bool {
    pairs::Pairs::detect().is_some()
}

/// What is done in a format.
pub(crate) trait Job {
    /// What it gives.
    type Output;

    /// Does it.
    fn run<F: Format>(self, format: F) -> Self::Output;
}

/// Rows that are copied from one plane to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub rows: usize,
    /// Numbers of a row.
    pub length: usize,
    /// From one row to the next where they come from, and where they go.
    pub from: usize,
    pub to: usize,
}

/// How numbers are stored for products.
pub(crate) trait Format: Copy + Send + Sync {
    /// One number, or two that are multiplied and added up together.
    type Number: Pod + Default + Send + Sync;

    /// How many a [`Self::Number`] holds: 1 or 2.
    const HELD: usize;

    /// Whether all products are those of [`Tiles`], of `u32` numbers.
    const TILED: bool = false;

    /// How many products of [`Tiles`] take the time of an addition of a number that a list of events names; any
    /// number where there are no tiles.
    const TILE_PRODUCTS: usize = 0;

    /// Two numbers; the second one is dropped where only one is held.
    fn number(self, first: f32, second: f32) -> Self::Number;

    /// Stores neighbours of a row, a multiple of [`Self::HELD`], together.
    fn store(self, row: &[f32], to: &mut [Self::Number]);

    /// Stores two rows together; the second one is dropped where only one is held.
    fn join(self, first: &[f32], second: &[f32], to: &mut [Self::Number]);

    /// [Joins](Self::join) rows of two planes.
    fn join_rows(self, [first, second]: [&[f32]; 2], to: &mut [Self::Number], rows: Rows) {
        for row in 0..rows.rows {
            let from = row * rows.from..row * rows.from + rows.length;
            let second = if Self::HELD == 1 { &[] } else { &second[from.clone()] };
            self.join(&first[from], second, &mut to[row * rows.to..][..rows.length]);
        }
    }

    /// Runs a task with tiles where products are theirs, with the widest registers elsewhere.
    fn multiply(self, task: impl Task<Self::Number, Output = ()> + TileTask) {
        if Self::TILED { self.with_tiles(task) } else { self.dispatch(task) }
    }

    /// Runs a task with the widest registers that there are.
    fn dispatch<T: Task<Self::Number>>(self, task: T) -> T::Output;

    /// Runs a task with the tiles of this thread, where there are some. It must not wait for other
    /// threads: `rayon` would hand this one a task that has tiles of its own.
    fn with_tiles(self, _: impl TileTask) {
        unreachable!("a format without tiles")
    }
}

/// What is done with products.
pub(crate) trait Task<N> {
    /// What it gives.
    type Output;

    /// Does it; always inlined.
    fn run<P: Product<N>>(self, product: P) -> Self::Output;
}

/// Registers of sums on one instruction set.
pub(crate) trait Registers: Copy {
    /// A register of sums.
    type Sums: Copy;

    /// Sums of a register, and numbers.
    const LANES: usize;

    /// How many registers there are.
    const REGISTERS: usize;

    /// Sums of nothing.
    fn zero(self) -> Self::Sums;

    /// The first [`Self::LANES`] sums.
    fn read(self, from: &[f32]) -> Self::Sums;

    /// Writes the first [`Self::LANES`] sums.
    fn write(self, sums: Self::Sums, to: &mut [f32]);

    /// The sums of two registers.
    fn both(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;

    /// The sum of the numbers in each register.
    fn totals(self, sums: [Self::Sums; 4]) -> [f32; 4];

    /// Writes numbers where `asked` has a bit, one after the other, and zeros elsewhere. There is room for a
    /// register to be read.
    #[inline(always)]
    fn expand(self, asked: u32, from: &[f32], to: &mut [f32; BLOCK]) {
        *to = [0.0; BLOCK];
        let mut left = asked;
        for &number in &from[..asked.count_ones() as usize] {
            to[left.trailing_zeros() as usize % BLOCK] = number;
            left &= left.wrapping_sub(1);
        }
    }
}

/// Products on one instruction set.
pub(crate) trait Product<N>: Registers {
    /// A register of numbers.
    type Numbers: Copy;

    /// The same number in all lanes.
    fn splat(self, number: N) -> Self::Numbers;

    /// The first [`Registers::LANES`] numbers.
    fn load(self, numbers: &[N]) -> Self::Numbers;

    /// Adds the products of each lane to its sum.
    fn add(self, a: Self::Numbers, b: Self::Numbers, sums: Self::Sums) -> Self::Sums;
}
