//! SIGINT and SIGTERM: the first asks the command to leave nothing half done and end, the second
//! ends it at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Set by the first signal; whatever takes long looks at it.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// How often one who sleeps looks whether a signal has come.
const GLANCE: Duration = Duration::from_millis(50);

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
        eprintln!("stopping with nothing left half done; once more to end at once");
    })
    .context("cannot listen for SIGINT and SIGTERM")
}

/// Whether a signal has come.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Whether to go on, for what asks in the middle of its work.
pub fn go_on() -> ControlFlow<()> {
    if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Waits for a time, or until a signal comes.
pub fn sleep(time: Duration) {
    let begun = Instant::now();
    while !stopped() && begun.elapsed() < time {
        std::thread::sleep(GLANCE.min(time));
    }
}
