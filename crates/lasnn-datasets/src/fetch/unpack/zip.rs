//! Zip archives.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::name::shown;
use super::sink::Sink;
use super::{ArchiveError, Limits, Tick, Unpacked};
use crate::formats;

/// How many bytes of the list of entries are read for each that the limits allow. Lists of data
/// sets take about a hundred.
const LISTED: u64 = 512;
/// What else is read before the first entry, when the end of the list is looked for.
const SEARCHED: u64 = 1 << 20;

/// The bits of a Unix mode that say what an entry is, and two of their values.
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Unpacks the folder `folder` of a zip archive into the folder `into`.
///
/// # Errors
///
/// See [`ArchiveError`]. What was written before stays.
pub fn unpack_zip(
    archive: impl Read + Seek,
    into: &Path,
    folder: &str,
    limits: Limits,
    tick: &mut Tick<'_>,
) -> Result<Vec<Unpacked>, ArchiveError> {
    // The library keeps the list of entries in memory, so its length is bounded first.
    let budget = limits.entries.saturating_mul(LISTED).saturating_add(SEARCHED);
    let left = Rc::new(Cell::new(Some(budget)));
    let archive = formats::zip::Counted::new(archive).map_err(broken)?;
    let bounded = Bounded { inner: archive, left: left.clone(), most: limits.entries };
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, BufReader::new(bounded)).map_err(broken)?;
    left.set(None);

    let total = archive.len() as u64;
    if total > limits.entries {
        return Err(ArchiveError::Entries { most: limits.entries });
    }
    if archive.has_duplicate_names() {
        let start = archive.central_directory_start();
        let name = formats::zip::first_twice(archive.into_inner(), start);
        let entry = shown(&name.map_err(ArchiveError::reading)?);
        return Err(ArchiveError::Duplicate { entry });
    }
    let mut sink = Sink::new(into, folder, limits);
    for index in 0..archive.len() {
        let mut tick = || match tick(index as u64, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ArchiveError::Stopped),
        };
        let listed = archive.by_index_data(index).map_err(broken)?;
        sink.count()?;
        check(listed.name_raw(), listed.unix_mode(), listed.compression(), listed.encrypted())?;
        let mut entry = archive.by_index(index).map_err(broken)?;
        write(&mut entry, &mut sink, &mut tick)?;
        tick()?;
    }
    let mut tick = || match tick(total, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ArchiveError::Stopped),
    };
    sink.finish(&mut tick)
}

/// Refuses what is neither a file nor a folder, or packed in another way.
fn check(
    name: &[u8],
    mode: Option<u32>,
    method: CompressionMethod,
    encrypted: bool,
) -> Result<(), ArchiveError> {
    let entry = || shown(name);
    match mode.map_or(0, |mode| mode & KIND) {
        0 | FILE | FOLDER => {}
        0o120_000 => return Err(ArchiveError::Kind { entry: entry(), found: "a symbolic link" }),
        0o020_000 | 0o060_000 => {
            return Err(ArchiveError::Kind { entry: entry(), found: "a device" });
        }
        _ => return Err(ArchiveError::Kind { entry: entry(), found: "of an unknown kind" }),
    }
    if encrypted {
        return Err(ArchiveError::Packing { entry: entry(), found: "encrypted".into() });
    }
    match method {
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok(()),
        method => {
            let found = format!("packed by {method}");
            Err(ArchiveError::Packing { entry: entry(), found })
        }
    }
}

fn write<R: Read>(
    entry: &mut ZipFile<'_, R>,
    sink: &mut Sink<'_>,
    tick: &mut dyn FnMut() -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let name = entry.name_raw().to_owned();
    let folder = entry.unix_mode().is_some_and(|mode| mode & KIND == FOLDER);
    if folder || name.ends_with(b"/") {
        return sink.folder(&name);
    }
    let size = entry.size();
    sink.file(&name, size, entry, tick)
}

fn broken(error: ZipError) -> ArchiveError {
    match error {
        ZipError::Io(error) => ArchiveError::reading(error),
        other => ArchiveError::Broken { source: io::Error::other(other) },
    }
}

/// Fails when more is read than a list of so many entries takes, while `left` says so.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<Option<u64>>>,
    most: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(left) = self.left.get() {
            match left.checked_sub(read as u64) {
                Some(left) => self.left.set(Some(left)),
                None => {
                    // Nothing more, should the library look for another list.
                    self.left.set(Some(0));
                    return Err(io::Error::other(ArchiveError::Entries { most: self.most }));
                }
            }
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
