//! Archives, unpacked as if somebody hostile had made them.
//!
//! An archive comes from the network. Its checksum says that it is the official one, but unpacking
//! does not rely on that: only files and folders below one folder are written, each once, no more
//! and no larger than [`Limits`] say, and everything else is an error. Memory does not grow with
//! the archive beyond the names of its entries, of which there are at most as many as the limits
//! allow.

mod name;
mod sink;
mod tar;
mod zip;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

pub use self::tar::{unpack_tar, unpack_tar_gz};
pub use self::zip::unpack_zip;

/// The most that an archive may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many entries: files, folders and notes about them.
    pub entries: u64,
    /// How many bytes in one file.
    pub file_bytes: u64,
    /// How many bytes in all files together.
    pub total_bytes: u64,
}

impl Limits {
    /// For data sets without archives.
    pub const NOTHING: Self = Self { entries: 0, file_bytes: 0, total_bytes: 0 };
}

/// A file that was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Its path, with slashes, beginning with the folder of the archive.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Hears how far unpacking is (`done` of `total`, in a unit of its own), and may stop it.
pub type Tick<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// An archive that is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// An entry would be written outside of the folder.
    #[error("the entry `{entry}` lies outside, expected only entries in the folder `{folder}`")]
    Outside {
        /// The name of the entry.
        entry: String,
        /// The folder that the archive may fill.
        folder: String,
    },
    /// An entry has characters in its name that no system or not every system takes.
    #[error("the entry `{entry}` has {found} in its name, expected none")]
    Character {
        /// The name of the entry.
        entry: String,
        /// The character, in words.
        found: &'static str,
    },
    /// The name of an entry is no text.
    #[error("the entry `{entry}` has a name that is not UTF-8")]
    NotUtf8 {
        /// The name of the entry, what is no text replaced.
        entry: String,
    },
    /// The name of an entry is too long.
    #[error("the entry `{entry}` has a name of {found} bytes, expected at most {longest}")]
    LongName {
        /// The beginning of the name.
        entry: String,
        /// The length of the name or of a part of it.
        found: u64,
        /// The longest that is taken.
        longest: u64,
    },
    /// An entry is neither a file nor a folder.
    #[error("the entry `{entry}` is {found}, expected a file or a folder")]
    Kind {
        /// The name of the entry.
        entry: String,
        /// What it is.
        found: &'static str,
    },
    /// Two entries have the same name, or one is a file and the other needs a folder there.
    #[error("the entry `{entry}` is there twice")]
    Duplicate {
        /// The name of the entry.
        entry: String,
    },
    /// There are too many entries.
    #[error("the archive has more than {most} entries")]
    Entries {
        /// How many are taken.
        most: u64,
    },
    /// A file is too large.
    #[error("the entry `{entry}` has {found} bytes, expected at most {most}")]
    LargeFile {
        /// The name of the entry.
        entry: String,
        /// Its size as the archive says.
        found: u64,
        /// The size that is taken.
        most: u64,
    },
    /// All files together are too large.
    #[error("the archive unpacks to more than {most} bytes")]
    LargeArchive {
        /// The size that is taken.
        most: u64,
    },
    /// An entry has another size than the archive says.
    #[error("the entry `{entry}` has {found}, expected {expected} bytes as the archive says")]
    Size {
        /// The name of the entry.
        entry: String,
        /// Its size, in words.
        found: String,
        /// Its size as the archive says.
        expected: u64,
    },
    /// An entry is packed in a way that is not unpacked here.
    #[error("the entry `{entry}` is {found}, expected it stored or deflated")]
    Packing {
        /// The name of the entry.
        entry: String,
        /// How it is packed.
        found: String,
    },
    /// The archive is not what its format says.
    #[error("the archive is broken")]
    Broken {
        /// Where or how.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Whoever watched wanted it to stop.
    #[error("stopped")]
    Stopped,
}

impl ArchiveError {
    /// An error of reading the archive. One of ours travels through a library as its cause.
    fn reading(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(source) => Self::Broken { source },
        }
    }
}
