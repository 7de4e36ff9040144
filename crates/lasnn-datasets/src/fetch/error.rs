//! What can go wrong between an address and a folder of images.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::unpack::ArchiveError;

/// A data set that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address of a mirror is none.
    #[error("the mirror is `{found}`, expected an address that begins with http:// or https://")]
    Mirror {
        /// The address given.
        found: String,
    },
    /// The server answers with something else than the file.
    #[error("{url}: the server answers with status {status}, expected 200")]
    Status {
        /// The address.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The server announces another size than that of the official file.
    #[error("{url}: the server announces {found} bytes, expected {expected}")]
    Announced {
        /// The address.
        url: String,
        /// The size announced, of what is still to come.
        found: u64,
        /// The size of what is still to come of the official file.
        expected: u64,
    },
    /// The server sends more than the official file has.
    #[error("{url}: the server sends more than the {expected} bytes of the official file")]
    TooLong {
        /// The address.
        url: String,
        /// The size of the official file.
        expected: u64,
    },
    /// The connection ended before the file did.
    #[error("{url}: the connection ended after {found} of {expected} bytes")]
    CutOff {
        /// The address.
        url: String,
        /// How many bytes have come, earlier attempts included.
        found: u64,
        /// The size of the official file.
        expected: u64,
    },
    /// The server cannot be reached, or said nothing for too long; another attempt may succeed.
    #[error("{url}: no answer from the server")]
    Unreachable {
        /// The address.
        url: String,
        /// Why not.
        source: io::Error,
    },
    /// The server sends too little to be waited for; another attempt may succeed.
    #[error("{url}: {found} bytes came in {span:?}, expected at least {least}")]
    Slow {
        /// The address.
        url: String,
        /// How many bytes came.
        found: u64,
        /// In which time.
        span: Duration,
        /// How many should have come.
        least: u64,
    },
    /// The server cannot be asked at all.
    #[error("{url}: the server cannot be asked")]
    Refused {
        /// The address.
        url: String,
        /// Why not.
        source: io::Error,
    },
    /// The server sends from one address to the next.
    #[error("{url}: redirected more than {most} times")]
    Redirects {
        /// The address.
        url: String,
        /// How many redirections are followed.
        most: u32,
    },
    /// Every attempt failed.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How many.
        attempts: u32,
        /// How the last one failed.
        source: Box<FetchError>,
    },
    /// The file has the right size and other bytes.
    #[error("{url}: the checksum is {found}, expected {expected}")]
    Checksum {
        /// The address.
        url: String,
        /// The hash in hexadecimal digits.
        found: String,
        /// The official one, with its kind.
        expected: String,
    },
    /// The archive holds what it must not, or is broken.
    #[error("{archive} is not unpacked")]
    Archive {
        /// The name of the archive.
        archive: String,
        /// Why not.
        source: ArchiveError,
    },
    /// What has come is not the whole data set, although every checksum is right.
    #[error("the files of {name} have come, but {found}")]
    Contents {
        /// The data set.
        name: String,
        /// What is wrong.
        found: String,
    },
    /// The folder is there, and it is not the whole data set. It may hold somebody's work, so it
    /// is left alone.
    #[error(
        "{} is there already, but {found}; remove or rename it to have it fetched",
        path.display()
    )]
    InTheWay {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// There is no room for what must be written.
    #[error("{} cannot be written, the disk is full", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system refuses something else.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Whoever watched the progress wanted it to stop. What has come is kept.
    #[error("stopped")]
    Stopped,
}

impl FetchError {
    /// An error of the file system; a full disk is one of its own.
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::File { action, path, source },
        }
    }

    /// An error of the archive, unless it is one of the disk it is unpacked to.
    pub(super) fn archive(archive: &str, source: ArchiveError) -> Self {
        match source {
            ArchiveError::Write { path, source } => Self::file("write", &path, source),
            ArchiveError::Stopped => Self::Stopped,
            source => Self::Archive { archive: archive.to_owned(), source },
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::CutOff { .. } | Self::Unreachable { .. } | Self::Slow { .. } => true,
            // Request Timeout, Too Early and Too Many Requests ask for it; so does every failure
            // of the server's own.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let of = |kind: io::ErrorKind| FetchError::file("write", Path::new("a"), kind.into());
        let full = of(io::ErrorKind::StorageFull);
        assert_eq!(full.to_string(), "a cannot be written, the disk is full");
        assert!(matches!(of(io::ErrorKind::QuotaExceeded), FetchError::DiskFull { .. }));
        let denied = of(io::ErrorKind::PermissionDenied);
        assert_eq!(denied.to_string(), "cannot write a");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| FetchError::Status { url: String::new(), status };
        for passing in [408, 425, 429, 500, 502, 503, 599] {
            assert!(status(passing).is_passing(), "{passing}");
        }
        for lasting in [204, 301, 400, 401, 403, 404, 410, 416, 600] {
            assert!(!status(lasting).is_passing(), "{lasting}");
        }
    }
}
