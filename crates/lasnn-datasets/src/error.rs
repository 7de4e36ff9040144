//! What can go wrong between a recipe and its images.

use std::fmt;
use std::path::PathBuf;

use lasnn_core::Shape;

/// A data set that cannot be had as the recipe asks for it.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The recipe's `[data]` table asks for something that cannot be.
    #[error("`data.{key}` is {found}, expected {expected}")]
    Config {
        /// The key below `data`.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The data set is read from files, and nobody said where they are.
    #[error("data set `{name}` is read from a directory, and no data directory is given")]
    NoDirectory {
        /// The data set.
        name: &'static str,
    },
    /// A file is not there.
    #[error("{} does not exist, expected {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: String,
    },
    /// A file is there but cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written: one of the cache, or one that was asked for.
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
        /// The file. What is inside an archive is named as if the archive were a folder.
        path: PathBuf,
        /// Where it is wrong, the value there, and what the format allows.
        flaw: Flaw,
    },
    /// There are too many classes for a contact sheet.
    #[error(
        "no contact sheet has room for an image of {shape} for each of {classes} classes, expected \
         so few that {most} pixels are enough"
    )]
    Sheet {
        /// How many.
        classes: usize,
        /// The shape of their images.
        shape: Shape,
        /// The most pixels of a sheet.
        most: usize,
    },
    /// Files have other bytes than when they were last read, and neither lengths nor times tell.
    #[error(
        "{}: the SHA-256 of the files is {found}, expected {expected} as when they were last read, \
         since no length and no time has changed; if the files were replaced on purpose, remove the \
         files `*.seen` in {}",
        path.display(),
        cache_dir.display()
    )]
    Changed {
        /// The folder or the archive.
        path: PathBuf,
        /// The hash of the files.
        found: String,
        /// What it was.
        expected: String,
        /// Where that is remembered.
        cache_dir: PathBuf,
    },
    /// The files are well-formed and hold other images than the official ones.
    #[error(
        "data set `{name}` is well-formed, but the SHA-256 of its images is {found}, expected \
         {expected}, as in the official edition"
    )]
    NotOfficial {
        /// The data set.
        name: String,
        /// The hash of its images.
        found: String,
        /// That of the official ones.
        expected: String,
    },
    /// Whoever was told about the progress wanted it to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What is wrong with the bytes of a file; [`Flaw::of`] adds which file that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}found {found}, expected {expected}")]
pub struct Flaw {
    /// Where.
    pub place: Place,
    /// The value there.
    pub found: String,
    /// What may be there.
    pub expected: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole of it.
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

    /// A flaw at the byte `offset`.
    pub(crate) fn byte(
        offset: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { place: Place::Byte(offset as u64), ..Self::file(found, expected) }
    }

    /// A flaw in the line number `line`, counted from 1.
    pub(crate) fn line(line: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { place: Place::Line(line as u64), ..Self::file(found, expected) }
    }

    /// The error that the file `path` has this flaw.
    pub fn of(self, path: impl Into<PathBuf>) -> DatasetError {
        DatasetError::Malformed { path: path.into(), flaw: self }
    }
}

impl DatasetError {
    /// An error of the recipe's key `data.<key>`.
    pub(crate) fn config(
        key: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config { key, found: found.to_string(), expected: expected.into() }
    }
}
