//! Locks between processes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The time between two attempts to take a lock.
const INTERVAL: Duration = Duration::from_millis(50);

/// Locks the file `path`, which is created if it does not exist. The lock ends when the returned
/// file is dropped, or with the process.
///
/// While another process holds the lock, `wait` is called again and again; if it fails, waiting
/// ends. A blocking lock of the system could not be interrupted. The file is never removed, since
/// two processes could then lock two different files with the same name.
pub(crate) fn lock<E>(
    path: &Path,
    failed: impl Fn(io::Error) -> E,
    mut wait: impl FnMut() -> Result<(), E>,
) -> Result<File, E> {
    let file = File::options().create(true).write(true).truncate(false).open(path);
    let file = file.map_err(&failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => wait()?,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        std::thread::sleep(INTERVAL);
    }
}
