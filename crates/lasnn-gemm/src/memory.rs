//! A pool of large blocks of memory, which one training step leaves to the next one.
//!
//! A training step frees memory that the next step allocates again. The system reclaims large
//! blocks, and fills new ones with zeros page by page. For the weight gradient of a large linear
//! layer, this takes as long as computing the gradient. The pool keeps blocks that are given back,
//! and returns them for requests of the same length.

#![allow(unsafe_code, reason = "prefetch instructions")]

use std::collections::HashMap;
use std::mem;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{LazyLock, Mutex, PoisonError};

use rayon::prelude::*;

/// The smallest length, in `f32` numbers, of a block that the pool keeps. Shorter blocks are cheap
/// to allocate.
pub const SMALLEST: usize = 1 << 14;

/// A block returns to the system if it stays in the pool while this many other blocks are taken.
const PATIENCE: u64 = 4000;

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Pool {
    /// Blocks by their length, each with the value of `clock` when it was given.
    blocks: HashMap<usize, Vec<(u64, Vec<f32>)>>,
    /// The number of blocks that were taken so far.
    clock: u64,
}

/// A block of `length` numbers with unspecified values. The caller must write all of them before it
/// reads them.
pub fn take(length: usize) -> Vec<f32> {
    if length < SMALLEST {
        return vec![0.0; length];
    }
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.clock += 1;
    let found = pool.blocks.get_mut(&length).and_then(Vec::pop);
    drop(pool);
    found.map_or_else(|| vec![0.0; length], |(_, block)| block)
}

/// Gives a block back to the pool. Blocks shorter than [`SMALLEST`] are freed.
pub fn give(block: Vec<f32>) {
    if block.len() < SMALLEST {
        return;
    }
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let now = pool.clock;
    let mut old = Vec::new();
    pool.blocks.retain(|_, blocks| {
        // New blocks are pushed at the end, so the first one is the oldest.
        if blocks.first().is_some_and(|(given, _)| now - given > PATIENCE) {
            old.push(blocks.remove(0));
        }
        !blocks.is_empty()
    });
    pool.blocks.entry(block.len()).or_default().push((now, block));
    // Old blocks are freed without the lock.
    drop(pool);
    drop(old);
}

/// The cache into which [`prefetch`] loads.
#[derive(Clone, Copy)]
pub enum CacheLevel {
    /// The first-level cache, for a number that is needed next.
    L1,
    /// The second-level cache, for a number that is needed soon.
    L2,
}

/// Starts to load the cache line of `numbers[at]` from memory.
///
/// Does nothing if the slice is shorter, or if the processor has no prefetch instruction that
/// stable Rust supports.
#[inline(always)]
pub fn prefetch<T>(numbers: &[T], at: usize, level: CacheLevel) {
    #[cfg(target_arch = "x86_64")]
    if let Some(number) = numbers.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let address = std::ptr::from_ref(number).cast();
        // SAFETY: a prefetch cannot fault, and the address is that of an element of the slice.
        unsafe {
            match level {
                CacheLevel::L1 => _mm_prefetch::<_MM_HINT_T0>(address),
                CacheLevel::L2 => _mm_prefetch::<_MM_HINT_T1>(address),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, at, level);
}

/// Numbers that one thread writes if several threads write a block.
const CHUNK: usize = 1 << 16;

/// Numbers of a cache line.
const LINE: usize = 16;

/// Scratch memory, usually from the pool, which returns to the pool on drop.
///
/// It begins at the start of a cache line. Tiles that are loaded from other addresses take several
/// times as long to load.
#[derive(Debug)]
pub struct Scratch {
    block: Vec<f32>,
    used: Range<usize>,
    /// Whether the block returns to the pool.
    is_pooled: bool,
}

impl Scratch {
    /// `length` numbers with unspecified values.
    pub fn new(length: usize) -> Self {
        Self::of(take(length + LINE - 1), true)
    }

    /// `length` zeros that do not return to the pool. For memory that outlives a training step, and
    /// that may not be needed again.
    pub fn zeros_unpooled(length: usize) -> Self {
        Self::of(vec![0.0; length + LINE - 1], false)
    }

    fn of(block: Vec<f32>, is_pooled: bool) -> Self {
        // An allocation has the alignment of its numbers at least, so this is at most `LINE - 1`.
        let start = block.as_ptr().align_offset(size_of::<[f32; LINE]>()).min(LINE - 1);
        let length = block.len() - (LINE - 1);
        Self { block, used: start..start + length, is_pooled }
    }

    /// A copy of `of`, written by all threads of the pool of `rayon`.
    pub fn copy(of: &[f32]) -> Self {
        let mut scratch = Self::new(of.len());
        let parts = scratch.par_chunks_mut(CHUNK).zip(of.par_chunks(CHUNK));
        parts.for_each(|(part, of)| part.copy_from_slice(of));
        scratch
    }

    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.fill(0.0);
        scratch
    }

    /// `length` zeros, written by all threads of the pool of `rayon`.
    pub fn zeros_parallel(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.par_chunks_mut(CHUNK).for_each(|part| part.fill(0.0));
        scratch
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.block[self.used.clone()]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.block[self.used.clone()]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_pooled {
            give(mem::take(&mut self.block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_returns_a_block_that_was_given() {
        // A length that no other test uses.
        let length = SMALLEST + 4711;
        let mut first = take(length);
        first.fill(7.0);
        give(first);
        assert!(take(length).iter().all(|&value| value == 7.0));
        // It was the only block of this length.
        assert!(take(length).iter().all(|&value| value == 0.0));
    }

    #[test]
    fn scratch_memory_begins_at_a_cache_line() {
        for length in [0, 1, 100, SMALLEST, SMALLEST + 1] {
            let scratch = Scratch::zeros(length);
            assert_eq!((scratch.len(), scratch.as_ptr().addr() % 64), (length, 0));
            assert!(scratch.iter().all(|&number| number == 0.0));
        }
    }
}
