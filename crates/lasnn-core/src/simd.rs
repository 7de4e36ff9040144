//! The choice of vector instructions at run time.
//!
//! Kernels are compiled once for each instruction set that [`pulp`] supports (AVX-512, AVX2, NEON,
//! scalar code), and [`vectors`] selects the widest one that the processor has. A [`Level`]
//! restricts the choice, so that tests can compare instruction sets on one machine. Products of
//! `f32` matrices in the `gemm` library ignore the restriction.

use std::cell::Cell;

use pulp::Arch;
#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;

#[doc(hidden)]
pub use pulp;

/// An instruction set to which tests can restrict the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// No vector instructions.
    Scalar,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The widest vectors of the processor, without bfloat16 instructions.
    Widest,
    /// AVX512-BF16, which multiplies packed bfloat16, even on processors where it is slow.
    #[cfg(target_arch = "x86_64")]
    PackedBf16,
    /// Scalar code that computes the same products of bfloat16 tiles as AMX.
    EmulatedTiles,
    /// AMX-BF16, which multiplies tiles of bfloat16.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles,
}

thread_local! {
    static RESTRICTED: Cell<Option<Level>> = const { Cell::new(None) };
}

impl Level {
    /// Runs `function` at this level, in a new pool of `threads` threads.
    ///
    /// All threads of the pool are restricted to the level. Other threads are not restricted, so
    /// tests at different levels can run at the same time.
    ///
    /// # Panics
    ///
    /// Panics if the threads cannot be started.
    pub fn run<T: Send>(self, threads: usize, function: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.start_handler(move |_| RESTRICTED.set(Some(self))).build();
        pool.unwrap_or_else(|error| panic!("cannot start threads: {error}")).install(function)
    }

    /// The level to which this thread is restricted, if it is restricted.
    #[inline]
    pub fn of_this_thread() -> Option<Self> {
        RESTRICTED.get()
    }

    /// The vector instructions of this level.
    ///
    /// # Panics
    ///
    /// Panics if the processor does not have them.
    pub fn vectors(self) -> Arch {
        match self {
            Self::Scalar => Arch::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Arch::V3(V3::try_new().unwrap_or_else(|| panic!("AVX2 is missing"))),
            _ => Arch::new(),
        }
    }

    /// Whether products of bfloat16 are computed in tiles at this level.
    pub fn has_tiles(self) -> bool {
        match self {
            Self::EmulatedTiles => true,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles => true,
            _ => false,
        }
    }
}

/// The widest vectors of the processor, or the vectors of the level to which this thread is
/// restricted.
#[inline(always)]
pub fn vectors() -> Arch {
    match Level::of_this_thread() {
        Some(level) => level.vectors(),
        None => Arch::new(),
    }
}

/// Defines a function whose body is compiled once for each instruction set. A call runs the widest
/// one that the processor has.
///
/// The function has one lifetime, named `'a`, may be generic over one type, and must state its
/// return type.
///
/// ```
/// lasnn_core::vectorised! {
///     fn scale<'a>(values: &'a mut [f32], factor: f32) -> () {
///         for value in values {
///             *value *= factor;
///         }
///     }
/// }
///
/// let mut values = [1.0, 2.0, 3.0];
/// scale(&mut values, 2.0);
/// assert_eq!(values, [2.0, 4.0, 6.0]);
/// ```
///
/// `Arch::dispatch` takes closures, too. But it calls a wrapper of the closure, which the compiler
/// may not inline, and which is then compiled for the oldest processor.
#[macro_export]
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<'a $(, $kind:ident: $bound:ident)?>(
            $($argument:ident: $type:ty),* $(,)?
        ) -> $output:ty
        $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<'a $(, $kind: $bound)?>($($argument: $type),*) -> $output {
            struct Body<'a $(, $kind)?> {
                $($argument: $type,)*
                lifetime: std::marker::PhantomData<&'a ()>,
            }

            impl<'a $(, $kind: $bound)?> $crate::simd::pulp::WithSimd for Body<'a $(, $kind)?> {
                type Output = $output;

                #[inline(always)]
                fn with_simd<S: $crate::simd::pulp::Simd>(self, _: S) -> $output {
                    let Self { $($argument,)* lifetime: _ } = self;
                    $body
                }
            }

            let body = Body { $($argument,)* lifetime: std::marker::PhantomData };
            $crate::simd::vectors().dispatch(body)
        }
    };
}
