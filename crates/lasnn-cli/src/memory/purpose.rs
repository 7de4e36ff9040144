//! The purposes of memory, and bytes by purpose.

use serde::Serialize;

use super::size::Size;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The program, the data set and the batches that are loaded in advance.
    Process,
    /// The weights of the current networks and of finished stages.
    Weights,
    /// The gradients of weights and the state of the optimiser.
    Optimiser,
    /// The copies that are made when a checkpoint is written or read.
    Checkpoint,
    /// The activations of ANNs and their gradients.
    Activations,
    /// The state that a spiking forward pass saves for its backward pass.
    Tape,
    /// The temporary memory of kernels.
    Scratch,
    /// Validation and measurement.
    Evaluation,
    /// Blocks in the memory pool that only the previous stage has used.
    Left,
}

impl Purpose {
    /// All purposes.
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

    /// The header of a column of a table.
    pub fn title(self) -> &'static str {
        self.words().0
    }

    /// The purpose as a part of a sentence.
    pub fn description(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Process => ("process, data", "the program and its data"),
            Self::Weights => ("weights", "weights"),
            Self::Optimiser => ("optimiser", "gradients and the state of the optimiser"),
            Self::Checkpoint => ("checkpoint", "copies for a checkpoint"),
            Self::Activations => ("activations", "activations"),
            Self::Tape => ("tape", "the tape of the backward pass"),
            Self::Scratch => ("scratch", "the temporary memory of kernels"),
            Self::Evaluation => ("evaluation", "validation and measurement"),
            Self::Left => ("left", "memory that the previous stage has left"),
        }
    }
}

/// Bytes by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown([Size; Purpose::ALL.len()]);

impl Breakdown {
    /// The bytes of one purpose.
    pub fn of(&self, purpose: Purpose) -> Size {
        self.0[purpose as usize]
    }

    /// The bytes of all purposes.
    pub fn total(&self) -> Size {
        self.0.iter().copied().sum()
    }

    /// The purpose with the most bytes.
    pub fn largest(&self) -> Purpose {
        let largest = Purpose::ALL.into_iter().max_by_key(|&purpose| self.of(purpose));
        largest.unwrap_or(Purpose::Process)
    }

    /// Adds bytes to a purpose.
    pub fn add(&mut self, purpose: Purpose, bytes: Size) {
        self.0[purpose as usize] += bytes;
    }

    /// Removes bytes from a purpose.
    pub fn remove(&mut self, purpose: Purpose, bytes: Size) {
        let before = &mut self.0[purpose as usize];
        *before = *before - bytes;
    }
}
