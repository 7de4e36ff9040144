//! The choice of vector instructions, made when the program runs.
//!
//! Kernels are compiled once for each instruction set that [`pulp`] knows (AVX-512, AVX2, NEON, scalar
//! code), and [`vectors`] selects the widest one that the processor has. [`Level`] restricts the
//! choice, so that tests can compare instruction sets on one machine. Products of `f32` matrices, which
//! the `gemm` library computes, make a choice of their own.

use std::cell::Cell;

use pulp::Arch;
#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;

#[doc(hidden)]
pub use pulp;

/// An instruction set that the kernels may be restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// No vectors.
    Scalar,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The widest vectors of the processor, without instructions for bfloat16.
    Widest,
    /// Products of pairs of bfloat16 (AVX512-BF16), even where they are slow.
    #[cfg(target_arch = "x86_64")]
    PackedBf16,
    /// Products of tiles of bfloat16, computed by scalar code.
    EmulatedTiles,
    /// Products of tiles of bfloat16 (AMX-BF16).
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles,
}

thread_local! {
    static RESTRICTED: Cell<Option<Level>> = const { Cell::new(None) };
}

impl Level {
    /// Runs `job` on this level, in a thread pool of its own.
    ///
    /// All threads of that pool are restricted to the level; other threads, such as those of tests
    /// that run at the same time, are not.
    ///
    /// # Panics
    ///
    /// If the threads cannot be started.
    pub fn run<T: Send>(self, threads: usize, job: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.start_handler(move |_| RESTRICTED.set(Some(self))).build();
        pool.unwrap_or_else(|error| panic!("cannot start threads: {error}")).install(job)
    }

    /// The level that this thread is restricted to.
    #[inline]
    pub fn of_this_thread() -> Option<Self> {
        RESTRICTED.get()
    }

    /// The vectors of this level.
    ///
    /// # Panics
    ///
    /// If the processor does not have them.
    pub fn vectors(self) -> Arch {
        match self {
            Self::Scalar => Arch::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Arch::V3(V3::try_new().unwrap_or_else(|| panic!("AVX2 is missing"))),
            _ => Arch::new(),
        }
    }

    /// Whether bfloat16 is multiplied in tiles.
    pub fn has_tiles(self) -> bool {
        match self {
            Self::EmulatedTiles => true,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles => true,
            _ => false,
        }
    }
}

/// The widest vectors of the processor, or those of the level that this thread is restricted to.
#[inline(always)]
pub fn vectors() -> Arch {
    match Level::of_this_thread() {
        Some(level) => level.vectors(),
        None => Arch::new(),
    }
}

/// A function whose body is compiled once for each instruction set, and run with the best one that
/// the processor has. It may be generic over one type.
///
/// `Arch::dispatch` takes closures as well. But it then calls a shim around the closure, which the
/// compiler may leave out of line and so compile for the oldest processor.
#[macro_export]
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<'a $(, $kind:ident: $bound:ident)?>($($argument:ident: $type:ty),* $(,)?) -> $output:ty
        $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<'a $(, $kind: $bound)?>($($argument: $type),*) -> $output {
            struct Job<'a $(, $kind)?> {
                $($argument: $type,)*
                lifetime: std::marker::PhantomData<&'a ()>,
            }

            impl<'a $(, $kind: $bound)?> $crate::simd::pulp::WithSimd for Job<'a $(, $kind)?> {
                type Output = $output;

                #[inline(always)]
                fn with_simd<S: $crate::simd::pulp::Simd>(self, _: S) -> $output {
                    let Self { $($argument,)* lifetime: _ } = self;
                    $body
                }
            }

            let job = Job { $($argument,)* lifetime: std::marker::PhantomData };
            $crate::simd::vectors().dispatch(job)
        }
    };
}
