//! The progress of preparing a data set, for a caller that shows or stops it.

use std::ops::ControlFlow;

/// The progress of a step. Only sources of many files report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The current step.
    pub step: Step,
    /// The number of processed files.
    pub done: usize,
    /// The number of all files.
    pub total: usize,
}

/// A step that takes long the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Files are read and hashed.
    Hashing,
    /// Another process decodes the same images, and this one waits for it.
    Waiting,
    /// Images are decoded.
    Decoding,
}

/// Receives progress reports, from one thread at a time. `Break` stops the preparation with
/// [`Interrupted`](crate::DatasetError::Interrupted), and no unfinished file is left.
pub type OnProgress<'a> = &'a dyn Fn(Progress) -> ControlFlow<()>;
