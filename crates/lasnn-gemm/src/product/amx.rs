//! Tiles of bfloat16 with AMX: one instruction multiplies 16 rows of 16 pairs with 16 columns.
//!
//! Intel's server processors have it since 2023. A thread has eight registers of 16 rows of 64 bytes:
//! four for sums here and two for each operand, so that every tile that is loaded is multiplied twice.

#![allow(unsafe_code, reason = "instructions that stable Rust has no functions for")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::LazyLock;

use super::pairs::Pairs;
use super::tiles::{Operand, Place, SIDE, TileTask, Tiles};
use super::{Format, Rows, Task};

/// Exists only where the processor has the instructions and the system lets this process use them.
#[derive(Clone, Copy)]
pub struct Amx(Pairs);

impl Amx {
    /// Asks the processor and, once in the life of the process, the system.
    pub fn detect() -> Option<Self> {
        static ALLOWED: LazyLock<bool> = LazyLock::new(|| processor_has_it() && ask_the_system());
        Pairs::detect().filter(|_| *ALLOWED).map(Self)
    }
}

/// Leaf 7 of CPUID, register EDX.
const AMX_BF16: u32 = 1 << 22;
const AMX_TILE: u32 = 1 << 24;

/// Bits of the extended control register 0: the system saves the configuration and the tiles.
const XTILE: u64 = 3 << 17;

fn processor_has_it() -> bool {
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: register 0 exists where XSAVE does.
        unsafe { _xgetbv(0) }
    }
    let needed = AMX_BF16 | AMX_TILE;
    if __cpuid_count(7, 0).edx & needed != needed || !is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: that XSAVE is detected includes that the system has switched it on.
    unsafe { saved() & XTILE == XTILE }
}

/// Linux lets a process use tiles when it has asked for them, and all its threads from then on.
fn ask_the_system() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this request takes a number and writes nothing.
    let refused =
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    refused == 0
}

impl Format for Amx {
    type Number = u32;
    const HELD: usize = 2;
    const TILED: bool = true;
    // With 20, a training step takes 0.8 to 0.95 of the time with lists, with 50 it takes 0.9 to 1.15
    // (VGG9 and ResNet12).
    const TILE_PRODUCTS: usize = 32;

    fn number(self, first: f32, second: f32) -> u32 {
        self.0.number(first, second)
    }

    fn store(self, row: &[f32], to: &mut [u32]) {
        self.0.store(row, to);
    }

    fn join(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        self.0.join(first, second, to);
    }

    fn join_rows(self, planes: [&[f32]; 2], to: &mut [u32], rows: Rows) {
        self.0.join_rows(planes, to, rows);
    }

    fn dispatch<T: Task<u32>>(self, task: T) -> T::Output {
        self.0.dispatch(task)
    }

    fn with_tiles(self, task: impl TileTask) {
        // SAFETY: `detect` found the instructions.
        task.run(unsafe { Registers::new() });
    }
}

/// How the tile registers are divided up: `TILECFG` of Intel's manual.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

/// The tile registers of a thread, which lets them go in the end.
struct Registers(PhantomData<*mut ()>);

impl Registers {
    /// Configures the registers of this thread.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions, and the system must allow them.
    unsafe fn new() -> Self {
        let (mut bytes_of_row, mut rows) = ([0; 16], [0; 16]);
        bytes_of_row[..8].fill(4 * SIDE as u16);
        rows[..8].fill(SIDE as u8);
        let config = Config { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row, rows };
        // SAFETY: the configuration is one that the manual allows. Nothing else in this thread uses
        // tiles, as the compiler knows none.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags));
        }
        Self(PhantomData)
    }

    /// The product of one or two tiles with one or two others.
    #[inline(always)]
    fn multiply(&mut self, size: [usize; 2], left: Operand<'_>, right: Operand<'_>) {
        let (lefts, rights) = (left.checked(size[0]), right.checked(size[1]));
        macro_rules! add {
            ($($line:literal),*) => {
                // SAFETY: the tiles that are loaded lie in their slices, as `checked` asserts.
                unsafe {
                    asm!(
                        $($line,)*
                        // Not all sizes have all addresses.
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

impl Tiles for Registers {
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
    fn load(&mut self, size: [usize; 2], from: &[f32], place: Place) {
        assert!(place.end(size) <= from.len(), "tiles of sums");
        let (from, pitch) = (from.as_ptr(), 4 * place.pitch);
        macro_rules! load {
            ($tile:literal, $at:expr) => {
                // SAFETY: the tile lies in the slice, as is asserted above.
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
            load!("tmm1", place.right);
        }
        if size[0] == 2 {
            load!("tmm2", place.down);
        }
        if size == [2, 2] {
            load!("tmm3", place.down + place.right);
        }
    }

    #[inline(always)]
    fn add<'a>(&mut self, size: [usize; 2], products: impl Iterator<Item = [Operand<'a>; 2]>) {
        products.for_each(|[left, right]| self.multiply(size, left, right));
    }

    #[inline(always)]
    fn store(&mut self, size: [usize; 2], to: &mut [f32], place: Place) {
        assert!(place.end(size) <= to.len(), "tiles of sums");
        let (to, pitch) = (to.as_mut_ptr(), 4 * place.pitch);
        macro_rules! store {
            ($tile:literal, $at:expr) => {
                // SAFETY: the tile lies in the slice, as is asserted above.
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
            store!("tmm1", place.right);
        }
        if size[0] == 2 {
            store!("tmm2", place.down);
        }
        if size == [2, 2] {
            store!("tmm3", place.down + place.right);
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: whoever made this found the instructions.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
