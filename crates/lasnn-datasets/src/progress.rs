//! How far the preparation of a data set is, for whoever shows it or stops it.

use std::ops::ControlFlow;

/// A step towards a data set, and how far it is. Only sources of many files report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Files done.
    pub done: usize,
    /// Files there are to do.
    pub total: usize,
}

/// What takes long the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Files are read and hashed.
    Hashing,
    /// Another process decodes the same images; this one waits for it.
    Waiting,
    /// Images are decoded.
    Decoding,
}

/// Is told about progress, by one thread at a time. `Break` stops the preparation with
/// [`Interrupted`](crate::DatasetError::Interrupted), and nothing unfinished is left.
pub type OnProgress<'a> = &'a dyn Fn(Progress) -> ControlFlow<()>;
