//! SIGINT and SIGTERM: the first asks the run to save and leave, the second ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// Set by the first signal; the training loop looks at it.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// The shell's exit code for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// A signal came, and there is nothing to save that is not saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupted {
    /// Fails if a signal has come.
    ///
    /// # Errors
    ///
    /// This one.
    pub fn check() -> Result<(), Self> {
        if stopped() { Err(Self) } else { Ok(()) }
    }
}

/// Starts to listen.
///
/// # Errors
///
/// Fails if the system refuses the handler.
pub fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        eprintln!("stopping after saving; once more to end at once");
    })
    .context("cannot listen for SIGINT and SIGTERM")
}

/// Whether a signal has come.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}
