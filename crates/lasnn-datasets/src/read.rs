//! Files read whole, but never more of them than they may hold.

use std::fs::{self, File, FileType};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{DatasetError, Flaw};

/// What is neither a file nor a folder.
pub(crate) const NO_FILE: &str = "a device, pipe or socket";

/// Reads a file of at most `longest` bytes. One that is longer is refused before its rest is read.
pub(crate) fn read(path: &Path, longest: usize, expected: &str) -> Result<Vec<u8>, DatasetError> {
    let unreadable = |source| unreadable(path, source, expected);
    let file = open(path, expected)?;
    let known = file.metadata().map_err(unreadable)?.len();
    let bytes = read_from(file, longest, known).map_err(unreadable)?;
    check_length(&bytes, longest).map_err(|flaw| flaw.of(path))?;
    Ok(bytes)
}

/// Opens a file. What is none is not even opened: a pipe would keep us waiting for its other end.
pub(crate) fn open(path: &Path, expected: &str) -> Result<File, DatasetError> {
    let unreadable = |source| unreadable(path, source, expected);
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { NO_FILE };
        return Err(Flaw::file(found, "a file").of(path));
    }
    File::open(path).map_err(unreadable)
}

/// Whether `path` is a folder. Where nobody may look, there may be one, so that is an error.
pub(crate) fn is_folder(path: &Path) -> Result<bool, DatasetError> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_dir()))
}

/// Whether `path` is a file.
pub(crate) fn is_file(path: &Path) -> Result<bool, DatasetError> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_file()))
}

/// What `path` is, or none if it is nothing.
fn kind(path: &Path) -> Result<Option<FileType>, DatasetError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.file_type())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(DatasetError::Unreadable { path: path.to_owned(), source }),
    }
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_is_no_file_is_not_opened() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let _socket = UnixListener::bind(path("socket")).unwrap();
        // Whoever opened this for reading would wait for a writer.
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(pipe.success());
        symlink("/dev/zero", path("zeros")).unwrap();
        symlink(".", path("folder")).unwrap();
        for (name, found) in
            [("socket", NO_FILE), ("pipe", NO_FILE), ("zeros", NO_FILE), ("folder", "a folder")]
        {
            let error = read(&path(name), 10, "ten bytes").unwrap_err().to_string();
            let expected = format!("{name}: found {found}, expected a file");
            assert!(error.ends_with(&expected), "{error}");
        }
    }
}
