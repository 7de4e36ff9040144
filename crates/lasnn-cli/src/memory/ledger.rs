//! What is in memory while a stage runs, block by block.

use std::collections::BTreeMap;

use serde::Serialize;

use super::size::Size;

/// Shorter blocks are not kept for the next one of their length
/// (`lasnn_gemm::memory::SMALLEST`).
const SMALLEST: usize = 1 << 14;

/// A block that was not taken while so many others were goes back to the system
/// (`PATIENCE` in `lasnn_gemm::memory`).
const PATIENCE: usize = 4000;

/// What memory is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The program, the data set and the batches that wait for their use.
    Process,
    /// The weights of the networks that compute, and of finished stages.
    Weights,
    /// Gradients of weights, and what the optimiser remembers.
    Optimiser,
    /// The copies that are made when a checkpoint is written or read.
    Checkpoint,
    /// The activations of ordinary networks and their gradients.
    Activations,
    /// What a spiking pass keeps for its backward pass.
    Tape,
    /// What kernels need while they run.
    Scratch,
    /// Validation and measurement.
    Evaluation,
    /// What kernels of the stage before have left, for blocks that do not come.
    Left,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Process,
        Self::Weights,
        Self::Optimiser,
        Self::Checkpoint,
        Self::Activations,
        Self::Tape,
        Self::Scratch,
        Self::Evaluation,
        Self::Left,
    ];

    /// As the header of a column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Process => "process, data",
            Self::Weights => "weights",
            Self::Optimiser => "optimiser",
            Self::Checkpoint => "checkpoint",
            Self::Activations => "activations",
            Self::Tape => "tape",
            Self::Scratch => "scratch",
            Self::Evaluation => "evaluation",
            Self::Left => "left",
        }
    }

    /// As a part of a sentence.
    pub fn described(self) -> &'static str {
        match self {
            Self::Process => "the program and its data",
            Self::Weights => "weights",
            Self::Optimiser => "gradients and the state of the optimiser",
            Self::Checkpoint => "the copies that a checkpoint needs",
            Self::Activations => "activations",
            Self::Tape => "the tape of the backward pass",
            Self::Scratch => "the scratch memory of kernels",
            Self::Evaluation => "validation and measurement",
            Self::Left => "what the stage before has left",
        }
    }
}

/// Bytes by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts([Size; Part::ALL.len()]);

impl Parts {
    /// Those of one part.
    pub fn of(&self, part: Part) -> Size {
        self.0[part as usize]
    }

    /// All of them.
    pub fn total(&self) -> Size {
        self.0.iter().copied().sum()
    }

    /// The part that takes the most.
    pub fn largest(&self) -> Part {
        let most = Part::ALL.into_iter().max_by_key(|&part| self.of(part));
        most.unwrap_or(Part::Process)
    }

    fn add(&mut self, part: Part, bytes: Size) {
        self.0[part as usize] += bytes;
    }

    fn remove(&mut self, part: Part, bytes: Size) {
        let before = &mut self.0[part as usize];
        *before = *before - bytes;
    }
}

/// The blocks of one length that kernels hand on to each other.
#[derive(Clone, Copy, Debug, Default)]
struct Blocks {
    /// How many are in use.
    used: Size,
    /// How many there are.
    all: Size,
    /// How many were in use at once since the stage began; the others are left by the stage before.
    most: Size,
}

/// What is in memory, and the most that was.
///
/// Two kinds of memory are told apart. What kernels and tensors hand on to each other stays where
/// it is when nobody uses it, since it is kept for the next block of its length. Everything else
/// goes back to the system.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By length in numbers.
    kept: BTreeMap<Size, Blocks>,
    /// How many blocks were taken since the stage began.
    taken: Size,
    /// What goes back to the system when it is freed.
    held: Parts,
    /// All of it.
    now: Parts,
    peak: Parts,
}

impl Ledger {
    /// Takes a block of so many numbers that is kept for the next one of its length when it is
    /// given back.
    pub fn take(&mut self, part: Part, length: Size) {
        self.take_some(part, length, Size::new(1));
    }

    /// The same for several blocks of one length.
    pub fn take_some(&mut self, part: Part, length: Size, count: Size) {
        if length < SMALLEST.into() {
            return;
        }
        self.taken += count;
        let blocks = self.kept.entry(length).or_default();
        blocks.used += count;
        let more = blocks.used - blocks.most;
        if more > Size::ZERO {
            let left = more.min(blocks.all - blocks.most);
            blocks.most = blocks.used;
            blocks.all = blocks.all.max(blocks.used);
            let bytes = length * size_of::<f32>();
            self.now.remove(Part::Left, bytes * left);
            self.now.add(part, bytes * more);
            self.look();
        }
    }

    /// Gives a block back.
    pub fn give(&mut self, length: Size) {
        self.give_some(length, Size::new(1));
    }

    /// Gives several blocks of one length back.
    pub fn give_some(&mut self, length: Size, count: Size) {
        if let Some(blocks) = self.kept.get_mut(&length) {
            blocks.used = blocks.used - count;
        }
    }

    /// Takes a block for a moment.
    pub fn pass(&mut self, part: Part, length: Size) {
        self.pass_some(part, length, Size::new(1));
    }

    /// Takes several blocks of one length for a moment.
    pub fn pass_some(&mut self, part: Part, length: Size, count: Size) {
        self.take_some(part, length, count);
        self.give_some(length, count);
    }

    /// Takes bytes that go back to the system when they are freed.
    pub fn hold(&mut self, part: Part, bytes: Size) {
        self.held.add(part, bytes);
        self.now.add(part, bytes);
        self.look();
    }

    /// Frees them.
    pub fn free(&mut self, part: Part, bytes: Size) {
        self.held.remove(part, bytes);
        self.now.remove(part, bytes);
    }

    /// Begins a stage: the most so far is what is in memory now.
    pub fn begin(&mut self) {
        self.taken = Size::ZERO;
        // Between stages no block is in use: all of them are left.
        let mut left = Size::ZERO;
        for (&length, blocks) in &mut self.kept {
            (blocks.used, blocks.most) = (Size::ZERO, Size::ZERO);
            left += length * blocks.all * size_of::<f32>();
        }
        for part in Part::ALL {
            self.now.0[part as usize] = self.held.of(part);
        }
        self.now.add(Part::Left, left);
        self.peak = self.now;
    }

    /// Repeats the allocations since the beginning of the stage `times` times. Blocks of the previous
    /// stage that no allocation has reused by then return to the operating system.
    pub fn repeat(&mut self, times: Size) {
        if self.taken * times <= PATIENCE.into() {
            return;
        }
        for (&length, blocks) in &mut self.kept {
            let unwanted = blocks.all - blocks.most;
            self.now.remove(Part::Left, length * unwanted * size_of::<f32>());
            blocks.all = blocks.most;
        }
    }

    /// The most that was in memory since the stage began.
    pub fn peak(&self) -> Parts {
        self.peak
    }

    fn look(&mut self) {
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
    fn a_block_serves_the_next_one_of_its_length_and_no_other() {
        let mut ledger = Ledger::default();
        ledger.pass(Part::Scratch, LENGTH);
        ledger.take(Part::Scratch, LENGTH);
        assert_eq!(ledger.peak().total(), BYTES);
        ledger.pass(Part::Activations, LENGTH * 2usize);
        assert_eq!(ledger.peak().total(), BYTES * 3usize);
        assert_eq!(ledger.peak().of(Part::Activations), BYTES * 2usize);
        ledger.take(Part::Tape, LENGTH);
        assert_eq!(ledger.peak().of(Part::Tape), BYTES);
        ledger.take(Part::Scratch, Size::from(SMALLEST - 1));
        assert_eq!(ledger.peak().total(), BYTES * 4usize, "short blocks are not kept");
    }

    #[test]
    fn a_stage_takes_what_the_one_before_has_left() {
        let mut ledger = Ledger::default();
        ledger.take_some(Part::Activations, LENGTH, Size::new(3));
        ledger.give_some(LENGTH, Size::new(3));
        ledger.begin();
        assert_eq!(ledger.peak().of(Part::Left), BYTES * 3usize);
        ledger.take(Part::Tape, LENGTH);
        ledger.hold(Part::Weights, BYTES);
        let peak = ledger.peak();
        assert_eq!(peak.of(Part::Left), BYTES * 2usize);
        assert_eq!((peak.of(Part::Tape), peak.of(Part::Activations)), (BYTES, Size::ZERO));
        assert_eq!(peak.total(), BYTES * 4usize);
    }

    #[test]
    fn what_is_freed_is_in_the_peak_and_not_in_the_next_one() {
        let mut ledger = Ledger::default();
        ledger.hold(Part::Weights, BYTES);
        ledger.hold(Part::Checkpoint, BYTES);
        ledger.free(Part::Checkpoint, BYTES);
        assert_eq!(ledger.peak().total(), BYTES * 2usize);
        ledger.begin();
        assert_eq!(ledger.peak().total(), BYTES);
        assert_eq!(ledger.peak().largest(), Part::Weights);
    }

    #[test]
    fn blocks_that_nobody_wants_go_in_the_end() {
        let mut ledger = Ledger::default();
        ledger.pass(Part::Activations, LENGTH);
        ledger.begin();
        ledger.pass(Part::Scratch, LENGTH * 2usize);
        assert_eq!(ledger.peak().total(), BYTES * 3usize, "the other stage's is still there");
        ledger.repeat(Size::from(10usize));
        ledger.begin();
        assert_eq!(ledger.peak().total(), BYTES * 3usize);
        ledger.pass(Part::Scratch, LENGTH * 2usize);
        ledger.repeat(Size::from(PATIENCE + 1));
        ledger.begin();
        assert_eq!(ledger.peak().total(), BYTES * 2usize);
    }
}
