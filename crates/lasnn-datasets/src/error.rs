//! Errors of loading a data set.

use std::fmt;
use std::path::PathBuf;

use lasnn_core::Shape;

/// Why a data set cannot be loaded as its recipe describes it.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A key of the recipe's table `[data]` has an impossible value.
    #[error("`data.{key}` is {found}, expected {expected}")]
    Config {
        /// The key in the table `data`.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The data set is read from files, and no directory is given.
    #[error("data set `{name}` is read from a directory, and no data directory is given")]
    NoDirectory {
        /// The data set.
        name: &'static str,
    },
    /// A file does not exist.
    #[error("{} does not exist, expected {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: String,
    },
    /// A file exists but cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of the cache or an output file cannot be written.
    #[error("{} cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not hold what its format says.
    #[error("{}: {flaw}", path.display())]
    Malformed {
        /// The file. A path inside an archive is written as if the archive were a folder.
        path: PathBuf,
        /// Where it is wrong, the value there, and what the format allows.
        flaw: Flaw,
    },
    /// There are too many classes for a contact sheet.
    #[error(
        "a contact sheet of {classes} classes with images of {shape} is too large, expected at \
         most {most} pixels"
    )]
    Sheet {
        /// The number of classes.
        classes: usize,
        /// The shape of their images.
        shape: Shape,
        /// The most pixels of a sheet.
        most: usize,
    },
    /// Files have other bytes than when they were last read, although lengths and times are the
    /// same.
    #[error(
        "{}: the SHA-256 of the files is {found}, expected {expected} as when they were last read, \
         since no length and no time has changed; if you replaced the files on purpose, remove the \
         files `*.seen` in {}",
        path.display(),
        cache_dir.display()
    )]
    Changed {
        /// The folder or the archive.
        path: PathBuf,
        /// The hash of the files now.
        found: String,
        /// The hash when they were last read.
        expected: String,
        /// The folder that stores this hash.
        cache_dir: PathBuf,
    },
    /// The files are well-formed, but their images are not the official ones.
    #[error(
        "data set `{name}` is well-formed, but the SHA-256 of its images is {found}, expected \
         {expected}, as in the official edition"
    )]
    NotOfficial {
        /// The data set.
        name: String,
        /// The hash of its images.
        found: String,
        /// The hash of the official images.
        expected: String,
    },
    /// The receiver of progress reports stopped the operation.
    #[error("interrupted")]
    Interrupted,
}

/// What is wrong with the bytes of a file; [`Flaw::of`] adds the path of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}found {found}, expected {expected}")]
pub struct Flaw {
    /// The place of the flaw.
    pub place: Place,
    /// The value there.
    pub found: String,
    /// The values that are allowed there.
    pub expected: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole file.
    File,
    /// A byte, counted from 0.
    Byte(u64),
    /// A line, counted from 1 as editors do.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Byte(offset) => write!(f, "byte {offset}: "),
            Self::Line(line) => write!(f, "line {line}: "),
        }
    }
}

impl Flaw {
    /// A flaw of the whole file.
    pub(crate) fn file(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { place: Place::File, found: found.into(), expected: expected.into() }
    }

    /// A flaw at byte `offset`.
    pub(crate) fn byte(
        offset: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { place: Place::Byte(offset as u64), ..Self::file(found, expected) }
    }

    /// A flaw in line `line`, counted from 1.
    pub(crate) fn line(line: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { place: Place::Line(line as u64), ..Self::file(found, expected) }
    }

    /// The error of the file `path` with this flaw.
    pub fn of(self, path: impl Into<PathBuf>) -> DatasetError {
        DatasetError::Malformed { path: path.into(), flaw: self }
    }
}

impl DatasetError {
    /// An error of the key `data.<key>` of a recipe.
    pub(crate) fn config(
        key: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config { key, found: found.to_string(), expected: expected.into() }
    }
}
