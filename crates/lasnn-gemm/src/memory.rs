//! Memory that goes from one training step to the next.
//!
//! A training step frees what the next one asks for again. The system takes large blocks back and
//! gives them out empty, page by page: for the weight gradient of a large linear layer that takes as
//! long as computing it. Here blocks that are given back are kept for the next one of the same length.

#![allow(unsafe_code, reason = "prefetch instructions")]

use std::collections::HashMap;
use std::mem;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{LazyLock, Mutex, PoisonError};

use rayon::prelude::*;

/// Shorter blocks are cheap to get anew.
pub const SMALLEST: usize = 1 << 14;

/// A block that nobody wanted while so many others were taken goes back to the system.
const PATIENCE: u64 = 4000;

static SHELF: LazyLock<Mutex<Shelf>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Shelf {
    /// Blocks by their length, each with the clock at which it came.
    blocks: HashMap<usize, Vec<(u64, Vec<f32>)>>,
    /// How many blocks were taken so far.
    clock: u64,
}

/// So many numbers, whatever they are: the caller writes them all.
pub fn take(length: usize) -> Vec<f32> {
    if length < SMALLEST {
        return vec![0.0; length];
    }
    let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
    shelf.clock += 1;
    let found = shelf.blocks.get_mut(&length).and_then(Vec::pop);
    drop(shelf);
    found.map_or_else(|| vec![0.0; length], |(_, block)| block)
}

/// Gives a block back, to be taken again.
pub fn give(block: Vec<f32>) {
    if block.len() < SMALLEST {
        return;
    }
    let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
    let now = shelf.clock;
    let mut old = Vec::new();
    shelf.blocks.retain(|_, blocks| {
        // The last one is the newest, so the first one is the one that has waited longest.
        if blocks.first().is_some_and(|(came, _)| now - came > PATIENCE) {
            old.push(blocks.remove(0));
        }
        !blocks.is_empty()
    });
    shelf.blocks.entry(block.len()).or_default().push((now, block));
    // What is old goes back to the system after the lock.
    drop(shelf);
    drop(old);
}

/// How soon a number is needed, and so which cache it comes into.
#[derive(Clone, Copy)]
pub enum Needed {
    /// Into the nearest one.
    Next,
    /// Into the one behind it.
    Soon,
}

/// Asks for a number that is needed; does nothing where it is not there, or cannot be asked for.
#[inline(always)]
pub fn prefetch<T>(numbers: &[T], at: usize, needed: Needed) {
    #[cfg(target_arch = "x86_64")]
    if let Some(number) = numbers.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let place = std::ptr::from_ref(number).cast();
        // SAFETY: a prefetch reads nothing and cannot fault; the address is that of a number.
        unsafe {
            match needed {
                Needed::Next => _mm_prefetch::<_MM_HINT_T0>(place),
                Needed::Soon => _mm_prefetch::<_MM_HINT_T1>(place),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, at, needed);
}

/// Numbers that a thread writes where several write a block.
const TOGETHER: usize = 1 << 16;

/// Numbers of a line of the cache.
const LINE: usize = 16;

/// A block for as long as a kernel runs, from the start of a cache line on: tiles that are loaded from
/// anywhere else take several times as long.
#[derive(Debug)]
pub struct Scratch {
    block: Vec<f32>,
    used: Range<usize>,
    /// Whether the block is kept for the next one of its length.
    is_kept: bool,
}

impl Scratch {
    /// So many numbers, whatever they are.
    pub fn new(length: usize) -> Self {
        Self::of(take(length + LINE - 1), true)
    }

    /// So many zeros that go back to the system: for what outlives a step, and may have no successor.
    pub fn lasting(length: usize) -> Self {
        Self::of(vec![0.0; length + LINE - 1], false)
    }

    fn of(block: Vec<f32>, is_kept: bool) -> Self {
        // No allocation is less aligned than its numbers are, so this is at most `LINE - 1`.
        let start = block.as_ptr().align_offset(size_of::<[f32; LINE]>()).min(LINE - 1);
        let length = block.len() - (LINE - 1);
        Self { block, used: start..start + length, is_kept }
    }

    /// A copy, written by all threads.
    pub fn copy(of: &[f32]) -> Self {
        let mut scratch = Self::new(of.len());
        let parts = scratch.par_chunks_mut(TOGETHER).zip(of.par_chunks(TOGETHER));
        parts.for_each(|(part, of)| part.copy_from_slice(of));
        scratch
    }

    /// So many zeros.
    pub fn zeros(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.fill(0.0);
        scratch
    }

    /// The same, written by all threads.
    pub fn zeros_together(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.par_chunks_mut(TOGETHER).for_each(|part| part.fill(0.0));
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
        if self.is_kept {
            give(mem::take(&mut self.block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back() {
        // A length that no other test asks for.
        let length = SMALLEST + 4711;
        let mut first = take(length);
        first.fill(7.0);
        give(first);
        assert!(take(length).iter().all(|&value| value == 7.0));
        // It was the only one.
        assert!(take(length).iter().all(|&value| value == 0.0));
    }

    #[test]
    fn scratch_memory_begins_with_a_cache_line() {
        for length in [0, 1, 100, SMALLEST, SMALLEST + 1] {
            let scratch = Scratch::zeros(length);
            assert_eq!((scratch.len(), scratch.as_ptr().addr() % 64), (length, 0));
            assert!(scratch.iter().all(|&number| number == 0.0));
        }
    }
}
