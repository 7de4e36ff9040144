//! What can go wrong between a recipe and its images.

use std::path::PathBuf;

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
    /// A file does not hold what its format says.
    #[error("{}: byte {offset}: found {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file, counted from 0.
        offset: u64,
        /// The value there.
        found: String,
        /// What the format allows there.
        expected: String,
    },
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
