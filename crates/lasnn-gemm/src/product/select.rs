//! The selection of a format at run time.

use lasnn_core::Precision;
use lasnn_core::simd::Level;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::Amx;
#[cfg(target_arch = "x86_64")]
use super::avx512_bf16::{self, Avx512Bf16};
use super::emulated_tiles::EmulatedTiles;
use super::f32_format::F32Format;
use super::format::{Format, FormatTask};
use super::tiles::TileTask;
use super::widened_bf16::WidenedBf16;

/// Runs a task with the format that the processor multiplies fastest at this precision.
///
/// If the processor has no fast bfloat16 instructions, [`Precision::Bf16`] uses `f32` elements that
/// are rounded to bfloat16 when they are packed.
pub fn with_format<T: FormatTask>(precision: Precision, task: T) -> T::Output {
    match precision {
        Precision::F32 => task.run(F32Format { rounded: false }),
        Precision::Bf16 => bf16_instructions().run(task, F32Format { rounded: true }),
    }
}

/// Runs a task with the packed bfloat16 format whose [`Tiles`](super::Tiles) are fastest on this
/// processor. Every such format has tiles.
pub fn with_tile_format<T: FormatTask>(task: T) -> T::Output {
    bf16_instructions().run(task, WidenedBf16)
}

/// Runs a task with the tiles of this thread, in the format of [`with_tile_format`].
///
/// The task must not wait for other threads; see [`Format::with_tiles`].
pub fn with_tiles(task: impl TileTask) {
    struct Run<T>(T);
    impl<T: TileTask> FormatTask for Run<T> {
        type Output = ();

        fn run<F: Format>(self, format: F) {
            format.with_tiles(self.0);
        }
    }
    with_tile_format(Run(task));
}

/// How many multiply-adds of this precision take the time of one `f32` multiply-add in vector
/// registers. It is an estimate: 2 for packed bfloat16, 1 otherwise.
pub fn relative_speed(precision: Precision) -> f64 {
    with_format(precision, ReadConstants).packed as f64
}

/// Whether all products of this precision are computed in tiles; see [`Format::TILED`].
pub fn is_tiled(precision: Precision) -> bool {
    with_format(precision, ReadConstants).tiled
}

/// Whether this processor has tiles in hardware, or this thread is restricted to emulated tiles.
pub fn has_tiles() -> bool {
    with_tile_format(ReadConstants).tiled
}

/// [`Format::TILE_PRODUCTS_PER_EVENT`] of the format of [`with_tile_format`].
pub fn tile_products_per_event() -> usize {
    with_tile_format(ReadConstants).tile_products_per_event
}

/// The instructions that the kernels use on this processor, for instance `avx-512 amx-bf16`.
///
/// They determine the order of sums, so programs that use other instructions compute other numbers.
pub fn simd_level() -> String {
    let vectors = match lasnn_core::simd::vectors() {
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V4(_) => "avx-512",
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V3(_) => "avx2",
        #[cfg(target_arch = "aarch64")]
        pulp::Arch::Neon(_) => "neon",
        _ => "scalar",
    };
    let bf16 = match bf16_instructions() {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Bf16Instructions::Amx(_) => " amx-bf16",
        #[cfg(target_arch = "x86_64")]
        Bf16Instructions::Avx512(_) => " avx512-bf16",
        Bf16Instructions::EmulatedTiles => " emulated-tiles",
        Bf16Instructions::None => "",
    };
    format!("{vectors}{bf16}")
}

/// The levels that this machine can run, for tests that compare them.
pub fn levels() -> Vec<Level> {
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "only x86 has more"))]
    let mut levels = vec![Level::Scalar, Level::Widest, Level::EmulatedTiles];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(pulp::x86::V3::try_new().map(|_| Level::Avx2));
        levels.extend(Avx512Bf16::detect().map(|_| Level::PackedBf16));
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    levels.extend(has_tiles().then_some(Level::Tiles));
    levels
}

/// The constants of a format.
struct Constants {
    packed: usize,
    tiled: bool,
    tile_products_per_event: usize,
}

struct ReadConstants;

impl FormatTask for ReadConstants {
    type Output = Constants;

    fn run<F: Format>(self, _: F) -> Constants {
        Constants {
            packed: F::PACKED,
            tiled: F::TILED,
            tile_products_per_event: F::TILE_PRODUCTS_PER_EVENT,
        }
    }
}

/// The bfloat16 instructions of the processor.
enum Bf16Instructions {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(Amx),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512Bf16),
    EmulatedTiles,
    None,
}

impl Bf16Instructions {
    /// Runs a task with the format of the instructions, or with `none` if there are none.
    fn run<T: FormatTask>(self, task: T, none: impl Format) -> T::Output {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(amx) => task.run(amx),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(format) => task.run(format),
            Self::EmulatedTiles => task.run(EmulatedTiles),
            Self::None => task.run(none),
        }
    }
}

/// The fastest bfloat16 instructions of the processor, or the instructions of the level to which
/// this thread is restricted.
fn bf16_instructions() -> Bf16Instructions {
    if let Some(level) = Level::of_this_thread() {
        return instructions_of(level);
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(amx) = Amx::detect() {
        return Bf16Instructions::Amx(amx);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(format) = Avx512Bf16::detect().filter(|_| avx512_bf16::is_fast()) {
        return Bf16Instructions::Avx512(format);
    }
    Bf16Instructions::None
}

fn instructions_of(level: Level) -> Bf16Instructions {
    match level {
        Level::EmulatedTiles => Bf16Instructions::EmulatedTiles,
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Level::Tiles => {
            Bf16Instructions::Amx(Amx::detect().unwrap_or_else(|| panic!("AMX-BF16 is missing")))
        }
        #[cfg(target_arch = "x86_64")]
        Level::PackedBf16 => Bf16Instructions::Avx512(
            Avx512Bf16::detect().unwrap_or_else(|| panic!("AVX512-BF16 is missing")),
        ),
        _ => Bf16Instructions::None,
    }
}
