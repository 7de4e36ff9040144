//! Where entries of an archive go: the checks that all kinds of archives share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::name::{inside, shown};
use super::{ArchiveError, Limits, Unpacked};
use crate::fetch::disk::sync;

/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// Writes entries below a folder, within limits.
pub struct Sink<'a> {
    into: &'a Path,
    folder: &'a str,
    limits: Limits,
    entries: u64,
    bytes: u64,
    files: BTreeMap<String, u64>,
    folders: BTreeSet<String>,
    buffer: Vec<u8>,
}

impl<'a> Sink<'a> {
    /// Writes the folder `folder` into the folder `into`, which must be there.
    pub fn new(into: &'a Path, folder: &'a str, limits: Limits) -> Self {
        let (files, folders) = (BTreeMap::new(), BTreeSet::new());
        Self { into, folder, limits, entries: 0, bytes: 0, files, folders, buffer: vec![0; BLOCK] }
    }

    /// Counts an entry, whatever it is.
    pub fn count(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ArchiveError::Entries { most: self.limits.entries });
        }
        Ok(())
    }

    /// Makes a folder. One that is there already is no mistake, since archives often name a folder
    /// after the files in it.
    pub fn folder(&mut self, name: &[u8]) -> Result<(), ArchiveError> {
        let path = inside(name, self.folder)?;
        if path.is_empty() { Ok(()) } else { self.make(&path, name) }
    }

    /// Writes a file of `size` bytes from `source`; `tick` is called now and then.
    pub fn file(
        &mut self,
        name: &[u8],
        size: u64,
        source: &mut dyn Read,
        tick: &mut dyn FnMut() -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let entry = || shown(name);
        let path = inside(name, self.folder)?;
        if size > self.limits.file_bytes {
            let most = self.limits.file_bytes;
            return Err(ArchiveError::LargeFile { entry: entry(), found: size, most });
        }
        if size > self.limits.total_bytes - self.bytes {
            return Err(ArchiveError::LargeArchive { most: self.limits.total_bytes });
        }
        let Some((parent, _)) = path.rsplit_once('/') else {
            // A file in the place of the folder itself.
            return Err(ArchiveError::Kind { entry: entry(), found: "a file" });
        };
        self.make(parent, name)?;
        if self.files.contains_key(&path) || self.folders.contains(&path) {
            return Err(ArchiveError::Duplicate { entry: entry() });
        }
        let target = self.into.join(&path);
        let mut file =
            File::create_new(&target).map_err(|error| write_error(&target, name, error))?;
        self.bytes += size;
        let written = copy(source, &mut file, size, &mut self.buffer, tick)
            .map_err(|error| error.of(name, &target))?;
        if written != size {
            let found = format!("{written} bytes");
            return Err(ArchiveError::Size { entry: entry(), found, expected: size });
        }
        self.files.insert(path, size);
        Ok(())
    }

    /// Makes a folder and those above it.
    fn make(&mut self, path: &str, name: &[u8]) -> Result<(), ArchiveError> {
        if self.folders.contains(path) {
            return Ok(());
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for above in ends.map(|end| &path[..end]) {
            if self.folders.contains(above) {
                continue;
            }
            if self.files.contains_key(above) {
                return Err(ArchiveError::Duplicate { entry: shown(name) });
            }
            let target = self.into.join(above);
            fs::create_dir(&target).map_err(|error| write_error(&target, name, error))?;
            self.folders.insert(above.to_owned());
        }
        Ok(())
    }

    /// Waits until everything is on the disk, and lists it.
    ///
    /// Files are synced only now, when the system has written most of them on its own: a hundred
    /// thousand small ones take seconds so, and minutes if each is waited for in its turn.
    pub fn finish(
        self,
        tick: &mut dyn FnMut() -> Result<(), ArchiveError>,
    ) -> Result<Vec<Unpacked>, ArchiveError> {
        for path in self.files.keys().chain(&self.folders) {
            let target = self.into.join(path);
            sync(&target).map_err(|source| ArchiveError::Write { path: target, source })?;
            tick()?;
        }
        Ok(self.files.into_iter().map(|(path, bytes)| Unpacked { path, bytes }).collect())
    }
}

/// A file or folder cannot be made. Where something is in its place, the file system takes two
/// names for the same, by case for instance.
fn write_error(path: &Path, name: &[u8], source: io::Error) -> ArchiveError {
    match source.kind() {
        ErrorKind::AlreadyExists => ArchiveError::Duplicate { entry: shown(name) },
        _ => ArchiveError::Write { path: path.to_owned(), source },
    }
}

/// How copying fails.
#[derive(Debug)]
enum CopyError {
    Read(io::Error),
    Write(io::Error),
    TooLong(u64),
    Ours(ArchiveError),
}

impl CopyError {
    fn of(self, name: &[u8], path: &Path) -> ArchiveError {
        match self {
            Self::Read(error) => ArchiveError::reading(error),
            Self::Write(source) => ArchiveError::Write { path: PathBuf::from(path), source },
            Self::TooLong(expected) => {
                let (entry, found) = (shown(name), "more".to_owned());
                ArchiveError::Size { entry, found, expected }
            }
            Self::Ours(error) => error,
        }
    }
}

/// Copies `source` to its end, which is expected after `size` bytes at most; gives how many.
fn copy(
    source: &mut dyn Read,
    target: &mut dyn Write,
    size: u64,
    buffer: &mut [u8],
    tick: &mut dyn FnMut() -> Result<(), ArchiveError>,
) -> Result<u64, CopyError> {
    let mut written = 0;
    loop {
        let read = match source.read(buffer) {
            Ok(0) => return Ok(written),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        if read as u64 > size - written {
            return Err(CopyError::TooLong(size));
        }
        target.write_all(&buffer[..read]).map_err(CopyError::Write)?;
        written += read as u64;
        tick().map_err(CopyError::Ours)?;
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const LIMITS: Limits = Limits { entries: 10, file_bytes: 10, total_bytes: 25 };

    /// Writes files of as many bytes as said, one after the other, until one is refused.
    fn write(files: &[(&str, u64)]) -> Result<Vec<Unpacked>, ArchiveError> {
        let into = TempDir::new().unwrap();
        let mut sink = Sink::new(into.path(), "top", LIMITS);
        for (name, bytes) in files {
            sink.file(name.as_bytes(), *bytes, &mut io::repeat(7).take(*bytes), &mut || Ok(()))?;
        }
        sink.finish(&mut || Ok(()))
    }

    #[track_caller]
    fn refuses(files: &[(&str, u64)], message: &str) {
        assert_eq!(write(files).unwrap_err().to_string(), message);
    }

    #[test]
    fn files_are_written_and_listed() {
        let found = write(&[("top/b", 10), ("top/a/c", 0), ("./top/a//d", 5)]).unwrap();
        let found: Vec<_> = found.iter().map(|file| (&*file.path, file.bytes)).collect();
        assert_eq!(found, [("top/a/c", 0), ("top/a/d", 5), ("top/b", 10)]);
    }

    #[test]
    fn a_name_is_taken_once() {
        refuses(&[("top/a", 1), ("top/a", 1)], "the entry `top/a` is there twice");
        refuses(&[("top/a", 1), ("top/./a", 1)], "the entry `top/./a` is there twice");
        refuses(&[("top/a", 1), ("top/a/b", 1)], "the entry `top/a/b` is there twice");
        refuses(&[("top/a/b", 1), ("top/a", 1)], "the entry `top/a` is there twice");
        refuses(&[("top", 1)], "the entry `top` is a file, expected a file or a folder");
    }

    #[test]
    fn sizes_are_bounded() {
        refuses(&[("top/a", 11)], "the entry `top/a` has 11 bytes, expected at most 10");
        let three = [("top/a", 10), ("top/b", 10), ("top/c", 6)];
        refuses(&three, "the archive unpacks to more than 25 bytes");
    }

    #[test]
    fn entries_are_bounded() {
        let into = TempDir::new().unwrap();
        let mut sink = Sink::new(into.path(), "top", LIMITS);
        for _ in 0..10 {
            sink.count().unwrap();
        }
        assert_eq!(sink.count().unwrap_err().to_string(), "the archive has more than 10 entries");
    }

    /// A writer with room for three bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_and_a_wrong_size_end_the_copy() {
        let copy = |mut source: &[u8], room, size| {
            copy(&mut source, &mut Full(room), size, &mut [0; 2], &mut || Ok(()))
        };
        assert_eq!(copy(b"abc", 3, 3).unwrap(), 3);
        assert_eq!(copy(b"abc", 3, 9).unwrap(), 3);
        let Err(CopyError::Write(error)) = copy(b"abcd", 3, 4) else { panic!("it had room") };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(matches!(copy(b"abcd", 9, 3), Err(CopyError::TooLong(3))));
    }
}
