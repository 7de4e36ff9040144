//! The memory in use while a stage runs, allocation by allocation.

use std::collections::BTreeMap;

use super::purpose::{Breakdown, Purpose};
use super::size::Size;

/// Blocks with fewer elements do not belong to the pool (`lasnn_gemm::memory::SMALLEST`). They are
/// too small to count.
const SMALLEST: usize = 1 << 14;

/// A block of the pool returns to the operating system after this number of other allocations
/// (`PATIENCE` in `lasnn_gemm::memory`).
const PATIENCE: usize = 4000;

/// Blocks of one length.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// The number of `f32` elements of one block.
    length: Size,
    count: Size,
}

impl From<Size> for Blocks {
    fn from(length: Size) -> Self {
        Self { length, count: Size::new(1) }
    }
}

impl From<(Size, Size)> for Blocks {
    fn from((length, count): (Size, Size)) -> Self {
        Self { length, count }
    }
}

/// The blocks of one length in the pool.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    /// The blocks in use.
    used: Size,
    /// All blocks.
    all: Size,
    /// The largest number of blocks in use since the stage began. The other blocks are left by the
    /// previous stage.
    most: Size,
}

/// The memory in use, and its maximum since the stage began.
///
/// There are two kinds of memory. The pool keeps the blocks of kernels and tensors: a released
/// block stays in memory and serves the next allocation of its length. All other memory returns to
/// the operating system when it is freed.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The pool by the length of its blocks.
    pool: BTreeMap<Size, Pool>,
    /// The number of allocations from the pool since the stage began.
    allocations: Size,
    /// The memory outside the pool.
    outside: Breakdown,
    /// All memory in use.
    now: Breakdown,
    peak: Breakdown,
}

impl Ledger {
    /// Allocates blocks from the pool.
    pub fn alloc(&mut self, purpose: Purpose, blocks: impl Into<Blocks>) {
        let Blocks { length, count } = blocks.into();
        if length < SMALLEST.into() {
            return;
        }
        self.allocations += count;
        let pool = self.pool.entry(length).or_default();
        pool.used += count;
        let more = pool.used - pool.most;
        if more > Size::ZERO {
            let left = more.min(pool.all - pool.most);
            pool.most = pool.used;
            pool.all = pool.all.max(pool.used);
            let bytes = length * size_of::<f32>();
            self.now.remove(Purpose::Left, bytes * left);
            self.now.add(purpose, bytes * more);
            self.update_peak();
        }
    }

    /// Allocates one block of each length.
    pub fn alloc_all(&mut self, purpose: Purpose, lengths: &[Size]) {
        lengths.iter().for_each(|&length| self.alloc(purpose, length));
    }

    /// Releases blocks into the pool.
    pub fn release(&mut self, blocks: impl Into<Blocks>) {
        let Blocks { length, count } = blocks.into();
        if let Some(pool) = self.pool.get_mut(&length) {
            pool.used = pool.used - count;
        }
    }

    /// Releases one block of each length.
    pub fn release_all(&mut self, lengths: &[Size]) {
        lengths.iter().for_each(|&length| self.release(length));
    }

    /// Allocates blocks and releases them at once.
    pub fn alloc_briefly(&mut self, purpose: Purpose, blocks: impl Into<Blocks>) {
        let blocks = blocks.into();
        self.alloc(purpose, blocks);
        self.release(blocks);
    }

    /// Allocates bytes outside the pool.
    pub fn malloc(&mut self, purpose: Purpose, bytes: Size) {
        self.outside.add(purpose, bytes);
        self.now.add(purpose, bytes);
        self.update_peak();
    }

    /// Frees bytes outside the pool.
    pub fn free(&mut self, purpose: Purpose, bytes: Size) {
        self.outside.remove(purpose, bytes);
        self.now.remove(purpose, bytes);
    }

    /// Allocates bytes outside the pool and frees them at once.
    pub fn malloc_briefly(&mut self, purpose: Purpose, bytes: Size) {
        self.malloc(purpose, bytes);
        self.free(purpose, bytes);
    }

    /// Begins a stage. Its peak begins with the memory that is in use now.
    pub fn begin_stage(&mut self) {
        self.allocations = Size::ZERO;
        // No block is in use between stages, so all blocks are left by the previous stage.
        let mut left = Size::ZERO;
        for (&length, pool) in &mut self.pool {
            (pool.used, pool.most) = (Size::ZERO, Size::ZERO);
            left += length * pool.all * size_of::<f32>();
        }
        self.now = self.outside;
        self.now.add(Purpose::Left, left);
        self.peak = self.now;
    }

    /// Repeats the allocations since the beginning of the stage `times` times. Blocks of the
    /// previous stage that no allocation has reused by then return to the operating system.
    pub fn repeat(&mut self, times: Size) {
        if self.allocations * times <= PATIENCE.into() {
            return;
        }
        for (&length, pool) in &mut self.pool {
            let unused = pool.all - pool.most;
            self.now.remove(Purpose::Left, length * unused * size_of::<f32>());
            pool.all = pool.most;
        }
    }

    /// The memory in use when it was largest since the stage began.
    pub fn peak(&self) -> Breakdown {
        self.peak
    }

    fn update_peak(&mut self) {
        if self.now.total() > self.peak.total() {
            self.peak = self.now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Size = Size::new(1 << 20);
    const BYTES: Size = Size::new(4 << 20);

    #[test]
    fn a_released_block_serves_the_next_allocation_of_its_length_only() {
        let mut ledger = Ledger::default();
        ledger.alloc_briefly(Purpose::Scratch, LENGTH);
        ledger.alloc(Purpose::Scratch, LENGTH);
        assert_eq!(ledger.peak().total(), BYTES);
        ledger.alloc_briefly(Purpose::Activations, LENGTH * 2usize);
        assert_eq!(ledger.peak().total(), BYTES * 3usize);
        assert_eq!(ledger.peak().of(Purpose::Activations), BYTES * 2usize);
        ledger.alloc(Purpose::Tape, LENGTH);
        assert_eq!(ledger.peak().of(Purpose::Tape), BYTES);
        ledger.alloc(Purpose::Scratch, Size::from(SMALLEST - 1));
        assert_eq!(ledger.peak().total(), BYTES * 4usize, "small blocks do not count");
    }

    #[test]
    fn a_stage_reuses_the_blocks_of_the_previous_stage() {
        let mut ledger = Ledger::default();
        let three = (LENGTH, Size::new(3));
        ledger.alloc(Purpose::Activations, three);
        ledger.release(three);
        ledger.begin_stage();
        assert_eq!(ledger.peak().of(Purpose::Left), BYTES * 3usize);
        ledger.alloc(Purpose::Tape, LENGTH);
        ledger.malloc(Purpose::Weights, BYTES);
        let peak = ledger.peak();
        assert_eq!(peak.of(Purpose::Left), BYTES * 2usize);
        assert_eq!((peak.of(Purpose::Tape), peak.of(Purpose::Activations)), (BYTES, Size::ZERO));
        assert_eq!(peak.total(), BYTES * 4usize);
    }

    #[test]
    fn freed_bytes_count_in_the_peak_of_their_stage_only() {
        let mut ledger = Ledger::default();
        ledger.malloc(Purpose::Weights, BYTES);
        ledger.malloc_briefly(Purpose::Checkpoint, BYTES);
        assert_eq!(ledger.peak().total(), BYTES * 2usize);
        ledger.begin_stage();
        assert_eq!(ledger.peak().total(), BYTES);
        assert_eq!(ledger.peak().largest(), Purpose::Weights);
    }

    #[test]
    fn unused_blocks_return_to_the_system_after_many_allocations() {
        let mut ledger = Ledger::default();
        ledger.alloc_briefly(Purpose::Activations, LENGTH);
        ledger.begin_stage();
        ledger.alloc_briefly(Purpose::Scratch, LENGTH * 2usize);
        assert_eq!(ledger.peak().total(), BYTES * 3usize, "the other block is still there");
        ledger.repeat(Size::from(10usize));
        ledger.begin_stage();
        assert_eq!(ledger.peak().total(), BYTES * 3usize);
        ledger.alloc_briefly(Purpose::Scratch, LENGTH * 2usize);
        ledger.repeat(Size::from(PATIENCE + 1));
        ledger.begin_stage();
        assert_eq!(ledger.peak().total(), BYTES * 2usize);
    }
}
