//! The folder of a data set: whether it is whole, and the list that says so.
//!
//! A fetch ends with a file `.fetched` in the folder: one line that names the data set, then one
//! per file with its size and its path. It is written before the folder gets its name, so a folder
//! that has it was whole once; a later fetch looks whether all files still have their sizes, which
//! takes no time to speak of and finds what a full disk or a power cut leaves. That no byte has
//! changed is another question: `lasnn data verify` reads everything.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use super::catalogue::{Content, Origin};
use super::disk;
use super::error::FetchError;
use super::unpack::Unpacked;

/// The name of the list.
pub const LIST: &str = ".fetched";
/// What its first line begins with.
const TITLE: &str = "fetched by lasnn:";
/// Far more than the list of a hundred thousand files takes.
const LONGEST_LIST: u64 = 64 << 20;

/// What is at the place of a data set.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The whole data set.
    Whole {
        /// How many files are known to be there.
        files: u64,
        /// How many bytes they have together.
        bytes: u64,
    },
    /// Something else; in words, to be put after "is there, but".
    Else(String),
}

/// Looks at the folder of a data set. The files of the catalogue must be there in their sizes, and so
/// must those of the list, if there is one; there is none where somebody else has put the folder
/// there.
pub fn look(folder: &Path, origin: &Origin<'_>) -> Result<Found, FetchError> {
    let failed = |error| FetchError::file("read", folder, error);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(Found::Else("it is no folder".into())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(match folder.is_symlink() {
                true => Found::Else("it is a link to nothing".into()),
                false => Found::Nothing,
            });
        }
        Err(error) => return Err(failed(error)),
    }
    let list = disk::read_text(&folder.join(LIST), LONGEST_LIST).map_err(failed)?;
    let known = check(folder, expected(origin))?;
    match (known, list.as_deref().and_then(|list| read_list(list, origin))) {
        (Found::Whole { .. }, Some(listed)) => check(folder, listed),
        (known, _) => Ok(known),
    }
}

/// The files that the catalogue knows of.
fn expected<'a>(origin: &Origin<'a>) -> impl Iterator<Item = (&'a str, Option<u64>)> {
    origin.contents.iter().map(|Content { path, bytes }| (*path, *bytes))
}

/// Compares files with their sizes.
fn check<'a>(
    folder: &Path,
    listed: impl IntoIterator<Item = (&'a str, Option<u64>)>,
) -> Result<Found, FetchError> {
    let (mut files, mut total) = (0, 0);
    for (path, bytes) in listed {
        let found = match fs::metadata(folder.join(path)) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return Ok(Found::Else(format!("`{path}` is no file"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Found::Else(format!("`{path}` is missing")));
            }
            Err(error) => return Err(FetchError::file("read", &folder.join(path), error)),
        };
        if let Some(expected) = bytes.filter(|&expected| expected != found) {
            let wrong = format!("`{path}` has {found} bytes, expected {expected}");
            return Ok(Found::Else(wrong));
        }
        files += 1;
        total += found;
    }
    Ok(Found::Whole { files, bytes: total })
}

/// Whether the files that were unpacked or moved are those of the catalogue.
pub fn check_contents(folder: &Path, origin: &Origin<'_>) -> Result<(), FetchError> {
    for content in expected(origin) {
        if let Found::Else(found) = check(folder, [content])? {
            return Err(FetchError::Contents { name: origin.name.to_owned(), found });
        }
    }
    Ok(())
}

/// Writes the list of files, whose paths are relative to the folder.
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

/// The files and sizes of a list; `None` if it is not one of this data set, or lacks a file that the
/// data set must have and so says nothing about the others either.
fn read_list<'a>(text: &'a str, origin: &Origin<'_>) -> Option<Vec<(&'a str, Option<u64>)>> {
    let mut lines = text.lines();
    let title = lines.next()?.strip_prefix(TITLE)?;
    if title.trim() != origin.name {
        return None;
    }
    let line = |line: &'a str| {
        let (bytes, path) = line.split_once(' ')?;
        Some((path, Some(bytes.parse().ok()?)))
    };
    let listed: Vec<_> = lines.map(line).collect::<Option<_>>()?;
    let has = |path| listed.iter().any(|(known, _)| *known == path);
    expected(origin).all(|(path, _)| has(path)).then_some(listed)
}
