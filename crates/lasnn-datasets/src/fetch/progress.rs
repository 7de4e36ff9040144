//! What goes on during a fetch, for whoever wants to show it or to stop it.

use std::ops::ControlFlow;
use std::time::Duration;

/// Something that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process fetches the same data set; this one waits for it.
    Waiting,
    /// Bytes of a file have come.
    Downloading {
        /// The name of the file.
        file: &'a str,
        /// How many bytes of it are here.
        done: u64,
        /// How many it has.
        total: u64,
    },
    /// An attempt failed, and another one follows.
    Retrying {
        /// The name of the file.
        file: &'a str,
        /// How it failed.
        reason: &'a str,
        /// How long it takes until the next one.
        wait: Duration,
    },
    /// An archive is being unpacked.
    Unpacking {
        /// The name of the archive.
        file: &'a str,
        /// How far it is, in the unit of `total`.
        done: u64,
        /// How far it goes.
        total: u64,
    },
}

/// Is told what goes on.
pub trait Progress {
    /// Hears of an event, several times a second. `Break` stops the fetch with
    /// [`Stopped`](super::FetchError::Stopped); what has been downloaded is kept.
    fn hear(&mut self, event: &Event<'_>) -> ControlFlow<()>;
}

/// Hears nothing and stops nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn hear(&mut self, _event: &Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
