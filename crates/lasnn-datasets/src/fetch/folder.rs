//! The folder of a data set: whether it is complete, and the list of its files.
//!
//! A fetch ends with a file `.fetched` in the folder. Its first line names the data set; every
//! other line has the size and the path of a file. The list is written before the folder gets its
//! name, so a folder with a list was complete once. A later fetch checks that all files still have
//! their sizes. This takes little time and finds the damage of a full disk or a power cut. It does
//! not find changed bytes; `lasnn data verify` reads everything.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write as _};
use std::path::Path;

use super::error::FetchError;
use super::unpack::Unpacked;
use crate::remote::{Content, RemoteFiles};

/// The name of the list.
const LIST: &str = ".fetched";
/// The beginning of its first line.
const TITLE: &str = "fetched by lasnn:";
/// Far more bytes than a list of a hundred thousand files has.
const LONGEST_LIST: u64 = 64 << 20;

/// What exists at the place of a data set.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The complete data set.
    Complete {
        /// The number of known files.
        files: u64,
        /// The number of their bytes.
        bytes: u64,
    },
    /// Something else, in words that follow "exists already, but".
    Other(String),
}

/// Looks at the folder of a data set. It must contain the files of `remote` and those of the list,
/// in their sizes. A folder that was made without this program has no list.
pub fn look(folder: &Path, remote: &RemoteFiles<'_>) -> Result<Found, FetchError> {
    let failed = |error| FetchError::file("read", folder, error);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(Found::Other("it is not a folder".into())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(match folder.is_symlink() {
                true => Found::Other("it is a link to nothing".into()),
                false => Found::Nothing,
            });
        }
        Err(error) => return Err(failed(error)),
    }
    let list = read_text(&folder.join(LIST)).map_err(failed)?;
    let known = check(folder, expected(remote))?;
    match (known, list.as_deref().and_then(|list| parse_list(list, remote))) {
        (Found::Complete { .. }, Some(listed)) => check(folder, listed),
        (known, _) => Ok(known),
    }
}

/// Reads the list. `None` if it does not exist, is too long or is not UTF-8.
fn read_text(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_LIST + 1).read_to_end(&mut bytes)?;
    let fits = bytes.len() as u64 <= LONGEST_LIST;
    Ok(String::from_utf8(bytes).ok().filter(|_| fits))
}

/// The files that every copy of the data set contains, with their sizes if they are known.
fn expected<'a>(remote: &RemoteFiles<'a>) -> impl Iterator<Item = (&'a str, Option<u64>)> {
    remote.contents.iter().map(|Content { path, bytes }| (*path, *bytes))
}

/// Checks that files exist and have their sizes.
fn check<'a>(
    folder: &Path,
    listed: impl IntoIterator<Item = (&'a str, Option<u64>)>,
) -> Result<Found, FetchError> {
    let (mut files, mut total) = (0, 0);
    for (path, bytes) in listed {
        let found = match fs::metadata(folder.join(path)) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return Ok(Found::Other(format!("`{path}` is not a file"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Found::Other(format!("`{path}` is missing")));
            }
            Err(error) => return Err(FetchError::file("read", &folder.join(path), error)),
        };
        if let Some(expected) = bytes.filter(|&expected| expected != found) {
            let wrong = format!("`{path}` has {found} bytes, expected {expected}");
            return Ok(Found::Other(wrong));
        }
        files += 1;
        total += found;
    }
    Ok(Found::Complete { files, bytes: total })
}

/// Checks that the new folder contains the files that every copy of the data set contains.
pub fn check_contents(folder: &Path, remote: &RemoteFiles<'_>) -> Result<(), FetchError> {
    for content in expected(remote) {
        if let Found::Other(found) = check(folder, [content])? {
            return Err(FetchError::Contents { name: remote.name.to_owned(), found });
        }
    }
    Ok(())
}

/// Writes the list of files.
pub fn write_list(folder: &Path, name: &str, files: &[Unpacked]) -> Result<(), FetchError> {
    let mut text = format!("{TITLE} {name}\n");
    for Unpacked { path, bytes } in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{bytes} {path}");
    }
    let path = folder.join(LIST);
    let write = || -> io::Result<()> {
        let mut file = File::create_new(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| FetchError::file("write", &path, error))
}

/// The files and sizes of a list. `None` if it is the list of another data set, or if it is invalid
/// because it lacks a file that every copy of the data set contains.
fn parse_list<'a>(text: &'a str, remote: &RemoteFiles<'_>) -> Option<Vec<(&'a str, Option<u64>)>> {
    let mut lines = text.lines();
    let title = lines.next()?.strip_prefix(TITLE)?;
    if title.trim() != remote.name {
        return None;
    }
    let line = |line: &'a str| {
        let (bytes, path) = line.split_once(' ')?;
        Some((path, Some(bytes.parse().ok()?)))
    };
    let listed: Vec<_> = lines.map(line).collect::<Option<_>>()?;
    let has = |path| listed.iter().any(|(known, _)| *known == path);
    expected(remote).all(|(path, _)| has(path)).then_some(listed)
}
