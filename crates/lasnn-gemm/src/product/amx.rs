//! Tiles with AMX-BF16, whose instruction `tdpbf16ps` multiplies two 16×16 tiles of packed
//! bfloat16.
//!
//! Server processors by Intel have it since 2023. A thread has eight tile registers with 16 rows of
//! 64 bytes. Here four of them contain sums and two contain tiles of each operand, so each tile
//! that is loaded is multiplied twice.

#![allow(unsafe_code, reason = "instructions for which stable Rust has no functions")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::LazyLock;

use super::SIDE;
use super::accumulators::Task;
use super::avx512_bf16::Avx512Bf16;
use super::format::{Format, RowCopy};
use super::tiles::{Operand, TileLayout, TileTask, Tiles};

/// The format that computes all products with AMX, and packs with AVX512-BF16. A value exists only
/// if the processor has the instructions and Linux permits their use.
#[derive(Clone, Copy)]
pub(super) struct Amx(Avx512Bf16);

impl Amx {
    /// The format, if it can be used. The first call in a process requests the permission of Linux.
    pub fn detect() -> Option<Self> {
        static ALLOWED: LazyLock<bool> =
            LazyLock::new(|| processor_has_amx() && request_permission());
        Avx512Bf16::detect().filter(|_| *ALLOWED).map(Self)
    }
}

/// Bits of register EDX in leaf 7 of CPUID.
const AMX_BF16: u32 = 1 << 22;
const AMX_TILE: u32 = 1 << 24;

/// Bits of the extended control register 0. They are set if the system saves the tiles and their
/// configuration when it switches threads.
const XTILE: u64 = 3 << 17;

fn processor_has_amx() -> bool {
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: register 0 exists if the processor has XSAVE.
        unsafe { _xgetbv(0) }
    }
    let needed = AMX_BF16 | AMX_TILE;
    if __cpuid_count(7, 0).edx & needed != needed || !is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: XSAVE is detected only if the system has enabled it.
    unsafe { saved() & XTILE == XTILE }
}

/// Requests the permission to use tiles, which Linux grants to all threads of the process.
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the request takes a number and writes no memory.
    let refused =
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    refused == 0
}

impl Format for Amx {
    type Element = u32;
    const PACKED: usize = 2;
    const TILED: bool = true;
    // With 20, a training step takes 0.8 to 0.95 of the time that it takes with event lists; with
    // 50 it takes 0.9 to 1.15 of it (VGG9 and ResNet12).
    const TILE_PRODUCTS_PER_EVENT: usize = 32;

    fn pack(self, first: f32, second: f32) -> u32 {
        self.0.pack(first, second)
    }

    fn pack_row(self, row: &[f32], to: &mut [u32]) {
        self.0.pack_row(row, to);
    }

    fn interleave(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        self.0.interleave(first, second, to);
    }

    fn interleave_rows(self, planes: [&[f32]; 2], to: &mut [u32], rows: RowCopy) {
        self.0.interleave_rows(planes, to, rows);
    }

    fn dispatch<T: Task<u32>>(self, task: T) -> T::Output {
        self.0.dispatch(task)
    }

    fn with_tiles(self, task: impl TileTask) {
        // SAFETY: `detect` found the instructions.
        task.run(unsafe { TileRegisters::new() });
    }
}

/// The sizes of the tile registers, `TILECFG` in the manual of Intel.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

/// The tile registers of this thread, released on drop.
struct TileRegisters(PhantomData<*mut ()>);

impl TileRegisters {
    /// Configures the tile registers of this thread.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions, and the system must permit their use.
    unsafe fn new() -> Self {
        let (mut bytes_of_row, mut rows) = ([0; 16], [0; 16]);
        bytes_of_row[..8].fill(4 * SIDE as u16);
        rows[..8].fill(SIDE as u8);
        let config = Config { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row, rows };
        // SAFETY: the manual allows this configuration. No other code of this thread uses tiles,
        // because the compiler does not generate instructions for them.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags));
        }
        Self(PhantomData)
    }

    /// Adds the product of one or two tiles on the left and one or two tiles on the right.
    #[inline(always)]
    fn multiply(&mut self, size: [usize; 2], left: Operand<'_>, right: Operand<'_>) {
        let (lefts, rights) = (left.checked(size[0]), right.checked(size[1]));
        macro_rules! add {
            ($($line:literal),*) => {
                // SAFETY: the tiles that are loaded are inside their slices, as `checked` asserts.
                unsafe {
                    asm!(
                        $($line,)*
                        // An operand that the instructions do not mention is an error, and smaller
                        // sizes do not use all addresses.
                        "/* {l} {m} {lp} {r} {s} {rp} */",
                        l = in(reg) lefts[0], m = in(reg) lefts[1], lp = in(reg) 4 * left.pitch,
                        r = in(reg) rights[0], s = in(reg) rights[1], rp = in(reg) 4 * right.pitch,
                        options(nostack, readonly, preserves_flags)
                    )
                }
            };
        }
        match size {
            [1, 1] => add!(
                "tileloadd tmm4, [{l} + {lp}]",
                "tileloadd tmm6, [{r} + {rp}]",
                "tdpbf16ps tmm0, tmm4, tmm6"
            ),
            [1, _] => add!(
                "tileloadd tmm4, [{l} + {lp}]",
                "tileloadd tmm6, [{r} + {rp}]",
                "tileloadd tmm7, [{s} + {rp}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7"
            ),
            [_, 1] => add!(
                "tileloadd tmm4, [{l} + {lp}]",
                "tileloadd tmm6, [{r} + {rp}]",
                "tileloadd tmm5, [{m} + {lp}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6"
            ),
            _ => add!(
                "tileloadd tmm4, [{l} + {lp}]",
                "tileloadd tmm6, [{r} + {rp}]",
                "tileloadd tmm5, [{m} + {lp}]",
                "tileloadd tmm7, [{s} + {rp}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7"
            ),
        }
    }
}

impl Tiles for TileRegisters {
    #[inline(always)]
    fn zero(&mut self) {
        // SAFETY: the registers are configured for as long as `self` lives.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn load(&mut self, size: [usize; 2], from: &[f32], layout: TileLayout) {
        assert!(layout.end(size) <= from.len(), "tiles of sums");
        let (from, pitch) = (from.as_ptr(), 4 * layout.pitch);
        macro_rules! load {
            ($tile:literal, $at:expr) => {
                // SAFETY: the tile is inside the slice, as asserted above.
                unsafe {
                    asm!(
                        concat!("tileloadd ", $tile, ", [{from} + {pitch}]"),
                        from = in(reg) from.add($at), pitch = in(reg) pitch,
                        options(nostack, readonly, preserves_flags)
                    )
                }
            };
        }
        load!("tmm0", 0);
        if size[1] == 2 {
            load!("tmm1", layout.right);
        }
        if size[0] == 2 {
            load!("tmm2", layout.down);
        }
        if size == [2, 2] {
            load!("tmm3", layout.down + layout.right);
        }
    }

    #[inline(always)]
    fn add<'a>(&mut self, size: [usize; 2], products: impl Iterator<Item = [Operand<'a>; 2]>) {
        products.for_each(|[left, right]| self.multiply(size, left, right));
    }

    #[inline(always)]
    fn store(&mut self, size: [usize; 2], to: &mut [f32], layout: TileLayout) {
        assert!(layout.end(size) <= to.len(), "tiles of sums");
        let (to, pitch) = (to.as_mut_ptr(), 4 * layout.pitch);
        macro_rules! store {
            ($tile:literal, $at:expr) => {
                // SAFETY: the tile is inside the slice, as asserted above.
                unsafe {
                    asm!(
                        concat!("tilestored [{to} + {pitch}], ", $tile),
                        to = in(reg) to.add($at), pitch = in(reg) pitch,
                        options(nostack, preserves_flags)
                    )
                }
            };
        }
        store!("tmm0", 0);
        if size[1] == 2 {
            store!("tmm1", layout.right);
        }
        if size[0] == 2 {
            store!("tmm2", layout.down);
        }
        if size == [2, 2] {
            store!("tmm3", layout.down + layout.right);
        }
    }
}

impl Drop for TileRegisters {
    fn drop(&mut self) {
        // SAFETY: `new` requires the instructions.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
