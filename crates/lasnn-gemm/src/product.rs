//! Parts of dense products: number formats, vector instructions, and 16×16 tiles.
//!
//! A kernel that multiplies densely is written once, as an implementation of the traits below, and
//! is compiled for each number format and instruction set. The fastest one is selected at run time.
//!
//! 1. [`FormatTask`]: the part of a kernel that is generic over a [`Format`]. [`with_format`] runs
//!    it with the format that the processor multiplies fastest. The kernel packs its operands with
//!    the methods of the format.
//! 2. [`Task`]: an inner loop in vector registers, generic over a [`Product`] (a multiply-add).
//!    [`Format::dispatch`] runs it with the widest vectors of the processor.
//! 3. [`TileTask`]: an inner loop in 16×16 tiles, generic over [`Tiles`]. [`Format::with_tiles`]
//!    runs it with AMX, or emulates the tiles with vectors if the processor has no tiles.
//!
//! Factors are `f32` or bfloat16, and sums are `f32`. A bfloat16 number is the upper half of an
//! `f32`. Two of them are packed into one `u32`, and a multiply-add of packed elements adds both
//! products to the same sum. There are three implementations of it: AMX-BF16, AVX512-BF16, and
//! vectors that widen bfloat16 to `f32` in registers. They differ in the order of their sums only.

mod accumulators;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod bf16;
mod emulated_tiles;
mod f32_format;
mod format;
mod masked;
mod row_tiles;
mod rows;
mod select;
#[cfg(test)]
mod tests;
mod tiles;
mod widened_bf16;

pub use accumulators::{Accumulators, Product, Task};
pub use bf16::{bf16_bits, bf16_to_f32, pack_bf16, pack_bf16_rows, round_to_bf16};
pub use format::{Format, FormatTask, RowCopy};
pub use rows::{BLOCK, BLOCK_ROWS, depth_multiple, rows_by_block};
pub use select::{
    has_tiles, is_tiled, levels, relative_speed, simd_level, tile_products_per_event, with_format,
    with_tile_format, with_tiles,
};
pub use tiles::{Operand, SIDE, TileLayout, TileTask, Tiles, tiles_left};
