//! Products in registers, summed in `f32`.
//!
//! What is multiplied is `f32`, or rounded to bfloat16: 8 bits of mantissa with the exponents of
//! `f32`. Pairs of those take one instruction for two products where the processor has it
//! (AVX512-BF16), and matrices of 16 by 16 pairs take one instruction where it has tiles (AMX-BF16).
//! Where not, they are multiplied as the `f32` numbers that they are; only the order of the sums
//! differs.

use lasnn_core::Precision;
use lasnn_core::simd::Level;
use pulp::bytemuck::Pod;

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
pub use halves::lanes as pairs_of;
pub use rows::{BLOCK, TOGETHER, rows_by_block, stretch};
use single::Single;
pub use single::half;
use tiles::Emulated;
pub use tiles::{Operand, Place, SIDE, TileTask, Tiles, tiles_left};

/// How many products of this precision take the time of one `f32` product, in registers.
pub fn relative_speed(precision: Precision) -> f64 {
    with_format(precision, Kind).held as f64
}

/// Whether all products of this precision are computed in tiles.
pub fn is_tiled(precision: Precision) -> bool {
    with_format(precision, Kind).tiled
}

/// Runs a job with the fastest format that the processor has for this precision.
pub fn with_format<J: Job>(precision: Precision, job: J) -> J::Output {
    match precision {
        Precision::F32 => job.run(Single { rounded: false }),
        Precision::Bf16 => instructions().run(job, Single { rounded: true }),
    }
}

/// Hands the format that the processor has for tiles of bfloat16 to a job.
pub fn tiled<J: Job>(job: J) -> J::Output {
    instructions().run(job, Halves)
}

/// Runs a task with the tiles of this thread.
pub fn with_tiles(task: impl TileTask) {
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
pub fn tile_products() -> usize {
    tiled(Kind).tile_products
}

/// What the processor has for bfloat16.
enum Instructions {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles(amx::Amx),
    #[cfg(target_arch = "x86_64")]
    Pairs(pairs::Pairs),
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
            Self::Emulated => job.run(Emulated),
            Self::None => job.run(none),
        }
    }
}

fn instructions() -> Instructions {
    if let Some(level) = Level::of_this_thread() {
        return of_level(level);
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

/// The instructions of a level that this thread is restricted to.
fn of_level(level: Level) -> Instructions {
    match level {
        Level::EmulatedTiles => Instructions::Emulated,
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Level::Tiles => {
            Instructions::Tiles(amx::Amx::detect().unwrap_or_else(|| panic!("no tiles here")))
        }
        #[cfg(target_arch = "x86_64")]
        Level::PackedBf16 => {
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
pub fn bfloat16(number: f32) -> f32 {
    f32::from_bits(half(number) << 16)
}

/// The number that 16 bits of bfloat16 stand for.
#[inline(always)]
pub fn widened(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Two numbers rounded to bfloat16, as tiles have them.
#[inline(always)]
pub fn pair(first: f32, second: f32) -> u32 {
    half(first) | half(second) << 16
}

/// Whether the processor has registers for tiles.
pub fn has_tiles() -> bool {
    tiled(Kind).tiled
}

/// Whether the processor multiplies pairs, fast or not.
#[cfg(target_arch = "x86_64")]
fn has_pairs() -> bool {
    pairs::Pairs::detect().is_some()
}

/// The levels that this machine can run.
pub fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Scalar, Level::Widest, Level::EmulatedTiles];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(pulp::x86::V3::try_new().map(|_| Level::Avx2));
        levels.extend(has_pairs().then_some(Level::PackedBf16));
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    levels.extend(has_tiles().then_some(Level::Tiles));
    levels
}

/// What is done in a format.
pub trait Job {
    /// What it gives.
    type Output;

    /// Does it.
    fn run<F: Format>(self, format: F) -> Self::Output;
}

/// Rows that are copied from one plane to another.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The number of rows.
    pub rows: usize,
    /// The number of elements in a row.
    pub length: usize,
    /// The distance between the starts of two rows in the source.
    pub from: usize,
    /// The distance between the starts of two rows in the destination.
    pub to: usize,
}

/// How numbers are stored for products.
pub trait Format: Copy + Send + Sync {
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
pub trait Task<N> {
    /// What it gives.
    type Output;

    /// Does it; always inlined.
    fn run<P: Product<N>>(self, product: P) -> Self::Output;
}

/// Registers of sums on one instruction set.
pub trait Registers: Copy {
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
pub trait Product<N>: Registers {
    /// A register of numbers.
    type Numbers: Copy;

    /// The same number in all lanes.
    fn splat(self, number: N) -> Self::Numbers;

    /// The first [`Registers::LANES`] numbers.
    fn load(self, numbers: &[N]) -> Self::Numbers;

    /// Adds the products of each lane to its sum.
    fn add(self, a: Self::Numbers, b: Self::Numbers, sums: Self::Sums) -> Self::Sums;
}
