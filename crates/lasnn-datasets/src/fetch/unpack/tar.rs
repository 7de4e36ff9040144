//! Tar archives, plain and compressed by gzip.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use flate2::read::GzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::name::shown;
use super::sink::Sink;
use super::{ArchiveError, Limits, Tick, Unpacked};

/// A tar archive has a header of this size for each entry and fills files up to it.
const BLOCK: u64 = 512;
/// The longest note about a file that is read.
const LONGEST_NOTE: u64 = 64 * 1024;
/// Notes that would change the name, the kind or the size of a file. Data sets have none.
const WEIGHTY: [&str; 3] = ["path", "linkpath", "size"];

/// Unpacks the folder `folder` of a tar archive compressed by gzip into the folder `into`. `bytes`
/// is the size of the archive, for `tick`.
///
/// # Errors
///
/// See [`ArchiveError`]. What was written before stays.
pub fn unpack_tar_gz(
    archive: impl Read,
    bytes: u64,
    into: &Path,
    folder: &str,
    limits: Limits,
    tick: &mut Tick<'_>,
) -> Result<Vec<Unpacked>, ArchiveError> {
    let read = Cell::new(0);
    let packed = Counted { inner: archive, read: &read };
    let unpacked = GzDecoder::new(BufReader::with_capacity(64 * 1024, packed));
    unpack(unpacked, into, folder, limits, &mut || tell(tick, read.get(), bytes))
}

/// The same for a tar archive that is not compressed.
///
/// # Errors
///
/// See [`ArchiveError`]. What was written before stays.
pub fn unpack_tar(
    archive: impl Read,
    bytes: u64,
    into: &Path,
    folder: &str,
    limits: Limits,
    tick: &mut Tick<'_>,
) -> Result<Vec<Unpacked>, ArchiveError> {
    let read = Cell::new(0);
    let archive = Counted { inner: archive, read: &read };
    unpack(archive, into, folder, limits, &mut || tell(tick, read.get(), bytes))
}

fn tell(tick: &mut Tick<'_>, done: u64, total: u64) -> Result<(), ArchiveError> {
    match tick(done.min(total), total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ArchiveError::Stopped),
    }
}

fn unpack(
    archive: impl Read,
    into: &Path,
    folder: &str,
    limits: Limits,
    tick: &mut dyn FnMut() -> Result<(), ArchiveError>,
) -> Result<Vec<Unpacked>, ArchiveError> {
    // Whatever the headers say, no more is decompressed than the largest archive within the limits
    // has: files, a header and filling for each entry, and the blocks at the end.
    let headers = limits.entries.saturating_mul(2 * BLOCK).saturating_add(1 << 20);
    let left = limits.total_bytes.saturating_add(headers);
    let mut archive = Archive::new(Bounded { inner: archive, left, limits });
    let mut sink = Sink::new(into, folder, limits);
    // Raw entries: the library would read a long name of any length into memory.
    let entries = archive.entries().map_err(ArchiveError::reading)?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(ArchiveError::reading)?;
        sink.count()?;
        write(&mut entry, &mut sink, tick)?;
        tick()?;
    }
    // To the end, where gzip has the checksum of it all.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(ArchiveError::reading)?;
    sink.finish(tick)
}

fn write<R: Read>(
    entry: &mut Entry<'_, R>,
    sink: &mut Sink<'_>,
    tick: &mut dyn FnMut() -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let name = entry.header().path_bytes().into_owned();
    let size = entry.size();
    let other = |found| Err(ArchiveError::Kind { entry: shown(&name), found });
    match entry.header().entry_type() {
        // Archives from before POSIX mark a folder by nothing but the slash.
        EntryType::Regular if size == 0 && name.ends_with(b"/") => sink.folder(&name),
        EntryType::Regular | EntryType::Continuous => sink.file(&name, size, entry, tick),
        EntryType::Directory => sink.folder(&name),
        EntryType::XHeader | EntryType::XGlobalHeader => note(entry, &name),
        EntryType::Link => other("a hard link"),
        EntryType::Symlink => other("a symbolic link"),
        EntryType::Char | EntryType::Block => other("a device"),
        EntryType::Fifo => other("a pipe"),
        EntryType::GNUSparse => other("a sparse file"),
        EntryType::GNULongName | EntryType::GNULongLink => {
            Err(ArchiveError::LongName { entry: shown(&name), found: size, longest: 255 })
        }
        _ => other("of an unknown kind"),
    }
}

/// Reads a note about the entries that follow (POSIX calls it an extended header) and forgets it:
/// times and owners are not kept.
fn note<R: Read>(entry: &mut Entry<'_, R>, name: &[u8]) -> Result<(), ArchiveError> {
    let found = entry.size();
    if found > LONGEST_NOTE {
        let most = LONGEST_NOTE;
        return Err(ArchiveError::LargeFile { entry: shown(name), found, most });
    }
    let mut note = Vec::new();
    entry.take(LONGEST_NOTE).read_to_end(&mut note).map_err(ArchiveError::reading)?;
    for line in PaxExtensions::new(&note) {
        let line = line.map_err(ArchiveError::reading)?;
        if WEIGHTY.iter().any(|key| key.as_bytes() == line.key_bytes()) {
            let found = "a note that changes a name or a size";
            return Err(ArchiveError::Kind { entry: shown(name), found });
        }
    }
    Ok(())
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: R,
    read: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

/// Fails when more is read than the limits allow.
struct Bounded<R> {
    inner: R,
    left: u64,
    limits: Limits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                let most = self.limits.total_bytes;
                return Err(io::Error::other(ArchiveError::LargeArchive { most }));
            }
        }
        Ok(read)
    }
}
