//! Unpacking archives.
//!
//! The checksum of an archive shows that it is the official one, unless it is only an MD5. So the
//! rules are few: an archive contains only files and folders, all of them inside one folder, and
//! unpacks to a limited number of bytes.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};
use zip::ZipArchive;

use crate::formats::text::quoted;

/// An unpacked file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Its path below the folder of the data set, with slashes.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The name of an entry is not a path inside the folder.
    #[error("the entry {entry} is refused, expected a UTF-8 path inside the folder `{folder}`")]
    Outside {
        /// The name of the entry.
        entry: String,
        /// The folder that the archive may fill.
        folder: String,
    },
    /// An entry is neither a file nor a folder.
    #[error("the entry {entry} is a link or a device, expected a file or a folder")]
    Kind {
        /// The name of the entry.
        entry: String,
    },
    /// Two entries have the same name, or names that the file system takes for the same.
    #[error("the entry {entry} occurs twice")]
    Duplicate {
        /// The name of the entry.
        entry: String,
    },
    /// The archive unpacks to too many bytes.
    #[error("the archive unpacks to more than {most} bytes")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// The archive does not have the structure of its format.
    #[error("the archive is damaged")]
    Damaged {
        /// The error of the library.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The receiver of progress reports stopped the operation.
    #[error("stopped")]
    Stopped,
}

/// Where and how an archive is unpacked.
pub struct Extractor<'a> {
    /// The existing folder that the archive's folder is created in.
    pub into: &'a Path,
    /// The folder that the archive contains.
    pub folder: &'a str,
    /// The most bytes that the archive may unpack to.
    pub limit: u64,
    /// Receives the number of unpacked bytes and about how many there are in all, and may stop the
    /// operation.
    pub progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

impl Extractor<'_> {
    /// Unpacks a tar archive that is compressed with gzip.
    ///
    /// # Errors
    ///
    /// See [`ArchiveError`]. Files that were unpacked before the error are left.
    pub fn tar_gz(&mut self, archive: impl Read) -> Result<Vec<Unpacked>, ArchiveError> {
        let decoder = GzDecoder::new(BufReader::new(archive));
        // The tar library reads long names into memory, so the stream itself is limited,
        // too. It is longer than the files, since each of them has a header and padding.
        let mut archive = Archive::new(decoder.take(self.limit.saturating_mul(2).max(1 << 20)));
        let mut files = Files { unpacked: Vec::new(), bytes: 0, total: self.limit };
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = match entry.header().entry_type() {
                EntryType::Directory => Kind::Folder,
                // In archives from before POSIX, only the slash marks a folder.
                EntryType::Regular if name.ends_with('/') => Kind::Folder,
                EntryType::Regular | EntryType::Continuous => Kind::File,
                EntryType::XGlobalHeader => continue,
                _ => Kind::Other,
            };
            self.extract(&name, kind, &mut entry, &mut files)?;
        }
        Ok(files.unpacked)
    }

    /// Unpacks a zip archive.
    ///
    /// # Errors
    ///
    /// See [`ArchiveError`]. Files that were unpacked before the error are left.
    pub fn zip(&mut self, archive: impl Read + Seek) -> Result<Vec<Unpacked>, ArchiveError> {
        let other = |error| damaged(io::Error::other(error));
        let mut archive = ZipArchive::new(BufReader::new(archive)).map_err(other)?;
        let total = archive.decompressed_size().and_then(|total| u64::try_from(total).ok());
        let total = total.unwrap_or(self.limit);
        let mut files = Files { unpacked: Vec::new(), bytes: 0, total };
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(other)?;
            let kind = match (entry.is_dir(), entry.is_symlink()) {
                (_, true) => Kind::Other,
                (true, false) => Kind::Folder,
                (false, false) => Kind::File,
            };
            let name = entry.name().map_err(other)?.into_owned();
            self.extract(&name, kind, &mut entry, &mut files)?;
        }
        Ok(files.unpacked)
    }

    fn extract(
        &mut self,
        name: &str,
        kind: Kind,
        source: &mut dyn Read,
        files: &mut Files,
    ) -> Result<(), ArchiveError> {
        let entry = || quoted(name);
        let outside = || ArchiveError::Outside { entry: entry(), folder: self.folder.to_owned() };
        let path = inside(name, self.folder).ok_or_else(outside)?;
        let target = self.into.join(self.folder).join(&path);
        let write = |source| ArchiveError::Write { path: target.clone(), source };
        match kind {
            Kind::Folder => fs::create_dir_all(&target).map_err(write)?,
            Kind::Other => return Err(ArchiveError::Kind { entry: entry() }),
            Kind::File if path.is_empty() => return Err(outside()),
            Kind::File => {
                fs::create_dir_all(target.parent().unwrap_or(self.into)).map_err(write)?;
                let mut file = File::create_new(&target).map_err(|error| match error.kind() {
                    ErrorKind::AlreadyExists => ArchiveError::Duplicate { entry: entry() },
                    _ => write(error),
                })?;
                let mut buffer = vec![0; 64 * 1024];
                let mut bytes = 0;
                loop {
                    let read = match source.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(read) => read,
                        Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                        Err(error) => return Err(damaged(error)),
                    };
                    bytes += read as u64;
                    if bytes > self.limit - files.bytes {
                        return Err(ArchiveError::TooLarge { most: self.limit });
                    }
                    file.write_all(&buffer[..read]).map_err(write)?;
                }
                files.bytes += bytes;
                files.unpacked.push(Unpacked { path, bytes });
            }
        }
        match (self.progress)(files.bytes, files.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ArchiveError::Stopped),
        }
    }
}

/// The files of an archive that are unpacked so far.
struct Files {
    unpacked: Vec<Unpacked>,
    bytes: u64,
    /// About how many bytes there are in all.
    total: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Folder,
    Other,
}

fn damaged(source: io::Error) -> ArchiveError {
    ArchiveError::Damaged { source }
}

/// The path of an entry below `folder`, with slashes; empty for the folder itself. `None` if the
/// entry is outside of the folder.
fn inside(name: &str, folder: &str) -> Option<String> {
    // A name that is not UTF-8 contains the replacement character here.
    if name.contains(|c: char| c.is_control() || c == '\\' || c == char::REPLACEMENT_CHARACTER) {
        return None;
    }
    let mut parts = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    match parts.split_first() {
        Some((first, rest)) => (*first == folder).then(|| rest.join("/")),
        None => Some(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::Header;
    use tempfile::TempDir;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const LIMIT: u64 = 2500;

    /// Makes a tar archive. The library refuses to write hostile names, so they are set by hand.
    fn tar_gz(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, bytes) in entries {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, *bytes).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    /// Unpacks an archive and checks that nothing was written outside of the folder `top`.
    #[track_caller]
    fn unpack(archive: &[u8]) -> Result<Vec<Unpacked>, ArchiveError> {
        let place = TempDir::new().unwrap();
        let into = place.path().join("into");
        fs::create_dir(&into).unwrap();
        let progress = &mut |_, _| ControlFlow::Continue(());
        let mut extractor = Extractor { into: &into, folder: "top", limit: LIMIT, progress };
        let unpacked = match archive.starts_with(b"PK") {
            true => extractor.zip(Cursor::new(archive)),
            false => extractor.tar_gz(archive),
        };
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        for entry in fs::read_dir(&into).unwrap() {
            assert_eq!(entry.unwrap().file_name(), "top");
        }
        for Unpacked { path, bytes } in unpacked.iter().flatten() {
            assert_eq!(fs::metadata(into.join("top").join(path)).unwrap().len(), *bytes);
        }
        unpacked
    }

    /// Both kinds of archive with these files.
    fn both(files: &[(&str, &[u8])]) -> [Vec<u8>; 2] {
        let entries: Vec<_> =
            files.iter().map(|(name, bytes)| (*name, EntryType::Regular, *bytes)).collect();
        [tar_gz(&entries), zip(files)]
    }

    #[test]
    fn files_are_written_and_listed() {
        let files: &[(&str, &[u8])] =
            &[("top/a", b"abc"), ("./top/b//c", &[7; 900]), ("top/d", b"")];
        for archive in both(files) {
            let unpacked = unpack(&archive).unwrap();
            let found: Vec<_> = unpacked.iter().map(|file| (&*file.path, file.bytes)).collect();
            assert_eq!(found, [("a", 3), ("b/c", 900), ("d", 0)]);
        }
    }

    #[test]
    fn paths_outside_of_the_folder_are_refused() {
        let names =
            ["/top/a", "../top/a", "top/../../a", "top/..", "other/a", "a", "top", "top/a\nb"];
        for name in names {
            for archive in both(&[(name, b"x")]) {
                // The zip library may tidy up a name when it writes it.
                if let Err(error) = unpack(&archive) {
                    assert!(matches!(error, ArchiveError::Outside { .. }), "{name}: {error}");
                } else {
                    assert!(archive.starts_with(b"PK"), "{name}");
                }
            }
            assert!(inside(name, "top").is_none_or(|path| path.is_empty()), "{name}");
        }
    }

    #[test]
    fn links_and_devices_are_refused() {
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
            let error = unpack(&tar_gz(&[("top/a", kind, b"")])).unwrap_err();
            assert!(matches!(error, ArchiveError::Kind { .. }), "{error}");
        }
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.add_symlink("top/a", "/etc", SimpleFileOptions::default()).unwrap();
        let error = unpack(&archive.finish().unwrap().into_inner()).unwrap_err();
        assert!(matches!(error, ArchiveError::Kind { .. }), "{error}");
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 1_000_000];
        for archive in both(&[("top/a", &zeros)]) {
            assert!(archive.len() < 10_000);
            let error = unpack(&archive).unwrap_err();
            assert_eq!(error.to_string(), "the archive unpacks to more than 2500 bytes");
        }
        for archive in both(&[("top/a", &zeros[..2000]), ("top/b", &zeros[..2000])]) {
            let error = unpack(&archive).unwrap_err();
            assert!(matches!(error, ArchiveError::TooLarge { most: LIMIT }), "{error}");
        }
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let file = ("top/a", EntryType::Regular, &b"x"[..]);
        let error = unpack(&tar_gz(&[file, file])).unwrap_err();
        assert_eq!(error.to_string(), "the entry `top/a` occurs twice");
    }

    #[test]
    fn damaged_archives_are_refused() {
        for archive in both(&[("top/a", &[7; 900]), ("top/b", b"x")]) {
            for length in [2, archive.len() / 2, archive.len() - 40] {
                assert!(unpack(&archive[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn unpacking_can_be_stopped() {
        let place = TempDir::new().unwrap();
        let progress = &mut |_, _| ControlFlow::Break(());
        let mut extractor = Extractor { into: place.path(), folder: "top", limit: LIMIT, progress };
        let [archive, _] = both(&[("top/a", b"x")]);
        assert!(matches!(extractor.tar_gz(&*archive), Err(ArchiveError::Stopped)));
    }
}
