//! A file that has come in part.
//!
//! Beside `NAME.part` lies `NAME.part.version`, which holds the ETag or the Last-Modified of the
//! server. It is written before the first byte, so whenever the program ends, the two belong
//! together or the server finds that they do not.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::checksum::Hasher;
use super::disk;
use super::error::FetchError;
use super::http::Validator;

/// The beginning of a file, and its hash so far.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    version: PathBuf,
    file: File,
    start: Hasher,
    hasher: Hasher,
    length: u64,
    validator: Option<Validator>,
}

impl Part {
    /// Opens what is there of the file `folder/name`, which has `total` bytes in the end, and
    /// hashes it. What cannot be a part of it is thrown away.
    pub fn open(folder: &Path, name: &str, total: u64, start: Hasher) -> Result<Self, FetchError> {
        let path = folder.join(format!("{name}.part"));
        let version = folder.join(format!("{name}.part.version"));
        let failed = |error| FetchError::file("open", &path, error);
        disk::remove_unless_file(&path).map_err(failed)?;
        let other = |error| FetchError::file("open", &version, error);
        disk::remove_unless_file(&version).map_err(other)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        let mut hasher = start.clone();
        let length = hash(&mut file, &mut hasher, total).map_err(failed)?;
        let text = disk::read_text(&version, 4096).map_err(other)?;
        let validator = text.as_deref().and_then(Validator::new);
        let mut part = Self { path, version, file, start, hasher, length, validator };
        if part.length > total || (part.length < total && part.validator.is_none()) {
            part.start_over()?;
        }
        Ok(part)
    }

    /// How many bytes are here.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// From where the rest can be asked for, and the version it must be of.
    pub fn resume(&self) -> Option<(u64, &Validator)> {
        let validator = self.validator.as_ref()?;
        (self.length > 0).then_some((self.length, validator))
    }

    /// Throws away what is here.
    pub fn start_over(&mut self) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| FetchError::file("empty", &self.path, error))?;
        self.length = 0;
        self.hasher = self.start.clone();
        self.note(None)
    }

    /// Keeps the version of which the next bytes are.
    pub fn note(&mut self, validator: Option<Validator>) -> Result<(), FetchError> {
        let written = match &validator {
            Some(validator) => fs::write(&self.version, validator.text()),
            None => disk::remove_file(&self.version),
        };
        self.validator = validator;
        written.map_err(|error| FetchError::file("write", &self.version, error))
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| FetchError::file("write", &self.path, error))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The hash of what is here, in hexadecimal digits.
    pub fn digits(&self) -> String {
        self.hasher.clone().digits()
    }

    /// Gives the file its name, now that it is whole.
    pub fn complete(self, path: &Path) -> Result<(), FetchError> {
        self.file.sync_all().map_err(|error| FetchError::file("write", &self.path, error))?;
        drop(self.file);
        fs::rename(&self.path, path).map_err(|error| FetchError::file("make", path, error))?;
        disk::remove_file(&self.version)
            .map_err(|error| FetchError::file("remove", &self.version, error))
    }

    /// Removes everything.
    pub fn remove(self) -> Result<(), FetchError> {
        drop(self.file);
        for path in [&self.path, &self.version] {
            disk::remove_file(path).map_err(|error| FetchError::file("remove", path, error))?;
        }
        Ok(())
    }
}

/// Hashes a file from where it stands, and gives its length. No more than one byte beyond `most`
/// is read.
pub fn hash(file: &mut File, hasher: &mut Hasher, most: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    let mut source = file.take(most.saturating_add(1));
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::fetch::checksum::Checksum;

    const ABC: Checksum<'static> =
        Checksum::Sha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

    fn open(folder: &TempDir) -> Part {
        Part::open(folder.path(), "a", 3, ABC.hasher()).unwrap()
    }

    #[test]
    fn a_part_goes_on_where_it_ended() {
        let folder = TempDir::new().unwrap();
        let mut part = open(&folder);
        assert_eq!(part.resume(), None);
        part.note(Validator::new("\"v\"")).unwrap();
        part.append(b"ab").unwrap();
        drop(part);

        let mut part = open(&folder);
        assert_eq!(part.resume(), Validator::new("\"v\"").as_ref().map(|v| (2, v)));
        part.append(b"c").unwrap();
        assert!(ABC.is(&part.digits()));
        part.complete(&folder.path().join("a")).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"abc");
    }

    #[test]
    fn what_cannot_go_on_is_thrown_away() {
        for (bytes, version) in [
            (&b"abcd"[..], Some("\"v\"")),
            (b"ab", None),
            (b"ab", Some("\"v\"\n")),
            (b"ab", Some("")),
        ] {
            let folder = TempDir::new().unwrap();
            fs::write(folder.path().join("a.part"), bytes).unwrap();
            if let Some(version) = version {
                fs::write(folder.path().join("a.part.version"), version).unwrap();
            }
            let mut part = open(&folder);
            assert_eq!((part.length(), part.resume()), (0, None), "{bytes:?}");
            part.append(b"abc").unwrap();
            assert!(ABC.is(&part.digits()));
            assert_eq!(fs::read(folder.path().join("a.part")).unwrap(), b"abc");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_a_link_leads_to_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "ab").unwrap();
        for link in ["a.part", "a.part.version"] {
            std::os::unix::fs::symlink(&precious, folder.path().join(link)).unwrap();
        }
        let mut part = open(&folder);
        assert_eq!(part.length(), 0);
        part.note(Validator::new("\"v\"")).unwrap();
        part.append(b"abc").unwrap();
        assert_eq!(fs::read(precious).unwrap(), b"ab");
        assert_eq!(fs::read(folder.path().join("a.part")).unwrap(), b"abc");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_reported() {
        let folder = TempDir::new().unwrap();
        let mut part = open(&folder);
        part.file = File::options().write(true).open("/dev/full").unwrap();
        let error = part.append(b"abc").unwrap_err();
        assert!(matches!(error, FetchError::DiskFull { .. }), "{error:?}");
        assert_eq!(part.length(), 0);
    }
}
