//! Which vectors the kernels use.
//!
//! Tests can run a network on fewer instructions than the processor has, or on tiles in plain numbers:
//! see `forced::Level`. Products of `f32` matrices (`gemm`) choose for themselves.

use pulp::Arch;

#[cfg(test)]
mod forced;

#[cfg(test)]
pub(crate) use forced::{Level, emulating};

/// The widest vectors that there are.
#[inline(always)]
pub(crate) fn vectors() -> Arch {
    #[cfg(test)]
    if let Some(level) = Level::forced() {
        return level.vectors();
    }
    Arch::new()
}
