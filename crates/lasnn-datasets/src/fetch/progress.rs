//! Events of a fetch, for a caller that shows or stops it.

use std::ops::ControlFlow;
use std::time::Duration;

/// An event of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process fetches the same data set, and this one waits for it.
    Waiting,
    /// Bytes of a file have arrived.
    Downloading {
        /// The name of the file.
        file: &'a str,
        /// The number of bytes on disk.
        done: u64,
        /// The size of the file.
        total: u64,
    },
    /// An attempt has failed, and another one follows.
    Retrying {
        /// The name of the file.
        file: &'a str,
        /// The error.
        reason: &'a str,
        /// The time until the next attempt.
        wait: Duration,
    },
    /// An archive is being unpacked.
    Unpacking {
        /// The name of the archive.
        file: &'a str,
        /// The number of bytes that are unpacked.
        done: u64,
        /// About how many bytes the archive unpacks to.
        total: u64,
    },
}

/// Receives the events of a fetch.
pub trait Progress {
    /// Receives an event, several times a second. `Break` stops the fetch with
    /// [`Stopped`](super::FetchError::Stopped); downloaded bytes are kept.
    fn on_event(&mut self, event: &Event<'_>) -> ControlFlow<()>;
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn on_event(&mut self, _event: &Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
