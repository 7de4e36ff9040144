//! Reading complete files, up to a limit.

use std::fs::{self, File, FileType};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{DatasetError, Flaw};

/// The name of everything that is neither a file nor a folder.
pub(crate) const NOT_A_FILE: &str = "a device, pipe or socket";

/// Reads a file of at most `longest` bytes. A longer file is refused before its rest is read.
pub(crate) fn read(path: &Path, longest: usize, expected: &str) -> Result<Vec<u8>, DatasetError> {
    let unreadable = |source| unreadable(path, source, expected);
    let file = open(path, expected)?;
    let known = file.metadata().map_err(unreadable)?.len();
    let bytes = read_from(file, longest, known).map_err(unreadable)?;
    check_length(&bytes, longest).map_err(|flaw| flaw.of(path))?;
    Ok(bytes)
}

/// Opens a file. Anything else is refused without opening it, since opening a pipe could block.
pub(crate) fn open(path: &Path, expected: &str) -> Result<File, DatasetError> {
    let unreadable = |source| unreadable(path, source, expected);
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { NOT_A_FILE };
        return Err(Flaw::file(found, "a file").of(path));
    }
    File::open(path).map_err(unreadable)
}

/// Whether `path` is a folder. It is an error if the system forbids to look.
pub(crate) fn is_folder(path: &Path) -> Result<bool, DatasetError> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_dir()))
}

/// Whether `path` is a file. It is an error if the system forbids to look.
pub(crate) fn is_file(path: &Path) -> Result<bool, DatasetError> {
    Ok(kind(path)?.is_some_and(|kind| kind.is_file()))
}

/// The type of the file `path`; `None` if it does not exist.
fn kind(path: &Path) -> Result<Option<FileType>, DatasetError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.file_type())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(DatasetError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Reads `reader` to its end, but at most `longest + 1` bytes. Memory is reserved for `known`
/// bytes, at most for `longest + 1`.
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

/// Checks that [`read_from`] reached the end.
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

/// The error of a file or folder that cannot be read. `expected` describes what it should hold.
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
    fn only_files_are_opened() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let _socket = UnixListener::bind(path("socket")).unwrap();
        // Opening a pipe for reading would block until there is a writer.
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(pipe.success());
        symlink("/dev/zero", path("zeros")).unwrap();
        symlink(".", path("folder")).unwrap();
        for (name, found) in [
            ("socket", NOT_A_FILE),
            ("pipe", NOT_A_FILE),
            ("zeros", NOT_A_FILE),
            ("folder", "a folder"),
        ] {
            let error = read(&path(name), 10, "ten bytes").unwrap_err().to_string();
            let expected = format!("{name}: found {found}, expected a file");
            assert!(error.ends_with(&expected), "{error}");
        }
    }
}
