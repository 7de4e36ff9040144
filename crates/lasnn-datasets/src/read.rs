//! Files read whole, but never more of them than they may hold.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{DatasetError, Flaw};

/// Reads a file of at most `longest` bytes. One that is longer is refused before its rest is read.
pub(crate) fn read(path: &Path, longest: usize, expected: &str) -> Result<Vec<u8>, DatasetError> {
    let unreadable = |source| unreadable(path, source, expected);
    let file = File::open(path).map_err(unreadable)?;
    let known = file.metadata().map_err(unreadable)?.len();
    let bytes = read_from(file, longest, known).map_err(unreadable)?;
    check_length(&bytes, longest).map_err(|flaw| flaw.of(path))?;
    Ok(bytes)
}

/// Reads all of `reader`, but at most one byte more than `longest`. Memory is taken for `known`
/// bytes at once, as far as they are allowed, and for others as they come.
pub(crate) fn read_from(
    reader: impl Read,
    longest: usize,
    known: u64,
) -> Result<Vec<u8>, std::io::Error> {
    let room = longest.min(usize::try_from(known).unwrap_or(usize::MAX));
    let mut bytes = Vec::with_capacity(room.saturating_add(1));
    reader.take((longest as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that [`read_from`] came to the end.
pub(crate) fn check_length(bytes: &[u8], longest: usize) -> Result<(), Flaw> {
    match bytes.get(longest) {
        None => Ok(()),
        Some(next) => Err(Flaw::byte(
            longest,
            format!("byte {next}"),
            format!("the end of the file after at most {longest} bytes"),
        )),
    }
}

/// The error of a file or folder that cannot be read; `expected` is what it should hold.
pub(crate) fn unreadable(path: &Path, source: std::io::Error, expected: &str) -> DatasetError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => DatasetError::Missing { path, expected: expected.to_owned() },
        _ => DatasetError::Unreadable { path, source },
    }
}
