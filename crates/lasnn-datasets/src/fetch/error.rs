//! Errors of fetching a data set.

use std::io;
use std::path::{Path, PathBuf};

use super::unpack::ArchiveError;

/// A data set that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address of a mirror is not an address on the web.
    #[error("the mirror is `{found}`, expected an address that begins with http:// or https://")]
    Mirror {
        /// The given text.
        found: String,
    },
    /// The server does not answer with the file.
    #[error("{url}: the server answers with status {status}, expected 200")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The announced size is not that of the official file.
    #[error("{url}: the server announces {found} bytes, expected {expected}")]
    Announced {
        /// The address.
        url: String,
        /// The announced number of bytes that the server is about to send.
        found: u64,
        /// The number of missing bytes of the official file.
        expected: u64,
    },
    /// The server sends more bytes than the official file has.
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
        /// The number of received bytes, including earlier attempts.
        found: u64,
        /// The size of the official file.
        expected: u64,
    },
    /// The server cannot be reached or stopped sending. Another attempt may succeed.
    #[error("{url}: no answer from the server")]
    Unreachable {
        /// The address.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// The request cannot be sent at all.
    #[error("{url}: the request cannot be sent")]
    Refused {
        /// The address.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// The server redirects too often.
    #[error("{url}: redirected too often")]
    Redirects {
        /// The address.
        url: String,
    },
    /// All attempts failed.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// The number of attempts.
        attempts: u32,
        /// The error of the last attempt.
        source: Box<FetchError>,
    },
    /// The file has the right size but other bytes.
    #[error("{url}: the checksum is {found}, expected {expected}")]
    Checksum {
        /// The address.
        url: String,
        /// The hash in hexadecimal digits.
        found: String,
        /// The official hash, with its kind.
        expected: String,
    },
    /// The archive is damaged or breaks a rule.
    #[error("{archive} is not unpacked")]
    Archive {
        /// The name of the archive.
        archive: String,
        /// The cause.
        source: ArchiveError,
    },
    /// The downloaded data set is incomplete, although every checksum is right.
    #[error("the files of {name} are downloaded, but {found}")]
    Contents {
        /// The data set.
        name: String,
        /// What is wrong.
        found: String,
    },
    /// The folder exists and is not the complete data set. It may hold somebody's work, so it is
    /// not changed.
    #[error(
        "{} exists already, but {found}; remove or rename it to fetch the data set",
        path.display()
    )]
    InTheWay {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The disk is full.
    #[error("{} cannot be written, the disk is full", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another operation of the file system failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The receiver of progress events stopped the fetch. Downloaded bytes are kept.
    #[error("stopped")]
    Stopped,
}

impl FetchError {
    /// An error of the file system. A full disk has its own variant.
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::File { action, path, source },
        }
    }

    /// An error of an archive or of writing its files.
    pub(super) fn archive(archive: &str, source: ArchiveError) -> Self {
        match source {
            ArchiveError::Write { path, source } => Self::file("write", &path, source),
            ArchiveError::Stopped => Self::Stopped,
            source => Self::Archive { archive: archive.to_owned(), source },
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::CutOff { .. } | Self::Unreachable { .. } => true,
            // Request Timeout, Too Early, Too Many Requests, and all errors of the server.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_error() {
        let of = |kind: io::ErrorKind| FetchError::file("write", Path::new("a"), kind.into());
        let full = of(io::ErrorKind::StorageFull);
        assert_eq!(full.to_string(), "a cannot be written, the disk is full");
        assert!(matches!(of(io::ErrorKind::QuotaExceeded), FetchError::DiskFull { .. }));
        let denied = of(io::ErrorKind::PermissionDenied);
        assert_eq!(denied.to_string(), "cannot write a");
    }

    #[test]
    fn only_temporary_errors_are_retried() {
        let status = |status| FetchError::Status { url: String::new(), status };
        for temporary in [408, 425, 429, 500, 502, 503, 599] {
            assert!(status(temporary).is_temporary(), "{temporary}");
        }
        for permanent in [204, 301, 400, 401, 403, 404, 410, 416, 600] {
            assert!(!status(permanent).is_temporary(), "{permanent}");
        }
    }
}
