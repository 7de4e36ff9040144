//! Levels of instructions, of which a test may force one.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use pulp::Arch;
#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;

use crate::product;

/// What the processor is taken to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// No vectors.
    Scalar,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The widest vectors that there are, and no instruction for bfloat16.
    Widest,
    /// Products of bfloat16 in pairs, also where those are slow.
    #[cfg(target_arch = "x86_64")]
    Pairs,
    /// Products of bfloat16 in tiles, computed in plain numbers.
    EmulatedTiles,
    /// Products of bfloat16 in the processor's tiles.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles,
}

thread_local! {
    static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

impl Level {
    /// Those that this machine can run.
    pub fn all_here() -> Vec<Self> {
        let mut levels = vec![Self::Scalar, Self::Widest, Self::EmulatedTiles];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(V3::try_new().map(|_| Self::Avx2));
            levels.extend(product::has_pairs().then_some(Self::Pairs));
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        levels.extend(product::has_tiles().then_some(Self::Tiles));
        levels
    }

    /// Runs something on this level, in a pool of its own: what it hands to other threads finds the
    /// same level there, and tests that run beside it do not.
    pub fn run<T: Send>(self, threads: usize, run: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.start_handler(move |_| FORCED.set(Some(self))).build().unwrap();
        pool.install(run)
    }

    /// The level of this thread, if one is forced.
    pub fn forced() -> Option<Self> {
        FORCED.get()
    }

    pub fn vectors(self) -> Arch {
        match self {
            Self::Scalar => Arch::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Arch::V3(V3::try_new().unwrap()),
            _ => Arch::new(),
        }
    }

    pub fn has_tiles(self) -> bool {
        match self {
            Self::EmulatedTiles => true,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles => true,
            _ => false,
        }
    }
}

/// Runs something that takes tiles in plain numbers for bfloat16, on two threads.
pub(crate) fn emulating<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    Level::EmulatedTiles.run(2, run)
}
