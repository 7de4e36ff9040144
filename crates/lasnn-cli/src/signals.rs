//! SIGINT and SIGTERM. The first signal asks the command to save its state and to end; the second
//! ends the program at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Set by the first signal. Loops that take long read it.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// How often [`sleep`] looks whether a signal has come.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The exit code that shells expect of a program that SIGINT has ended.
const INTERRUPTED: i32 = 130;

/// A signal has come, and nothing is left to be saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupted {
    /// Fails if a signal has come.
    ///
    /// # Errors
    ///
    /// Returns `Interrupted`.
    pub fn check() -> Result<(), Self> {
        if stopped() { Err(Self) } else { Ok(()) }
    }
}

/// Installs the handler of both signals.
///
/// # Errors
///
/// Fails if the system refuses the handler.
pub fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        eprintln!("stopping after the state is saved; send the signal again to stop at once");
    })
    .context("cannot listen for SIGINT and SIGTERM")
}

/// Whether a signal has come.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// `Break` if a signal has come. Callbacks of long computations return it.
pub fn go_on() -> ControlFlow<()> {
    if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Waits for `time`, or until a signal comes.
pub fn sleep(time: Duration) {
    let begun = Instant::now();
    while !stopped() && begun.elapsed() < time {
        std::thread::sleep(POLL_INTERVAL.min(time));
    }
}
