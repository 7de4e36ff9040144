//! One process at a time.

use std::fs::{File, TryLockError};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::disk;
use super::error::FetchError;
use super::progress::{Event, Progress};

/// How often it is looked whether another process is done.
const AGAIN: Duration = Duration::from_millis(100);

/// Holds until dropped, or until the process ends in whichever way: the lock is the system's, and
/// the empty file that carries it stays where it is. Were it removed, a process that waits for it
/// and one that makes it again would hold two locks.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Waits for the lock of the file `path`.
    pub fn wait(path: &Path, progress: &mut dyn Progress) -> Result<Self, FetchError> {
        let failed = |error| FetchError::file("lock", path, error);
        disk::remove_unless_file(path).map_err(failed)?;
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(path).map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if let ControlFlow::Break(()) = progress.hear(&Event::Waiting) {
                return Err(FetchError::Stopped);
            }
            std::thread::sleep(AGAIN);
        }
    }
}
