//! [Packs](crate::formats::pack) on disk: made whole or not at all, checked before they are used,
//! mapped into memory.
//!
//! A pack is written beside its place under the name `*.part` and renamed when it is complete; it is
//! never changed after that. Several processes may want the same one: the first locks `*.lock` and
//! makes it, the others wait for it. One that is damaged is made again, over the old one; processes
//! that have the old one mapped keep it, since its name goes to another file.

#![allow(unsafe_code, reason = "a file mapped into memory")]

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use crate::error::DatasetError;
use crate::formats::pack::{self, CHECKSUM, HEADER, Header};
use crate::pixels::Pixels;
use crate::read::unreadable;
use crate::write::write_whole;

/// Bytes of a pack that are read at once to check it.
const BLOCK: usize = 1 << 20;
/// How often it is looked whether another process is done.
const AGAIN: Duration = Duration::from_millis(50);

/// The pixels of the pack `path`, if there is one, it is whole, and it is the one that `wanted`
/// describes.
///
/// # Errors
///
/// Fails if there is a file that cannot be read. What it holds is no reason to fail.
pub(super) fn open(path: &Path, wanted: &Header) -> Result<Option<Pixels>, DatasetError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DatasetError::Unreadable { path: path.to_owned(), source }),
    };
    let checked = check(&file, wanted);
    match checked.map_err(|source| unreadable(path, source, "a pack of pixels"))? {
        Ok(()) => {}
        Err(found) => {
            tracing::warn!(path = %path.display(), found, "a pack of pixels is of no use");
            return Ok(None);
        }
    }
    let mapped = map(&file);
    let mapped = mapped.map_err(|source| unreadable(path, source, "a pack of pixels"))?;
    if Some(mapped.len()) != wanted.length() {
        return Ok(None);
    }
    let end = mapped.len() - CHECKSUM;
    Ok(Some(Pixels::new(mapped).part(HEADER..end)))
}

/// Reads all of a pack and checks its header and its checksum; the inner error says what is wrong.
fn check(mut file: &File, wanted: &Header) -> io::Result<Result<(), String>> {
    let length = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    let mut opening = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut opening)?;
    match pack::header(&opening, length) {
        Ok(found) if found == *wanted => {}
        Ok(_) => return Ok(Err("it is of other images".into())),
        Err(flaw) => return Ok(Err(flaw.to_string())),
    }
    let mut hash = Sha256::new_with_prefix(&opening);
    let mut left = length - (HEADER + CHECKSUM) as u64;
    while left > 0 {
        let size = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        match file.read(&mut block[..size]) {
            Ok(0) => return Ok(Err("it became shorter".into())),
            Ok(read) => {
                hash.update(&block[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut known = Vec::new();
    file.take(CHECKSUM as u64 + 1).read_to_end(&mut known)?;
    if known[..] != hash.finalize()[..] {
        return Ok(Err("its checksum does not fit".into()));
    }
    Ok(Ok(()))
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapped file must not be changed or cut while it is mapped. Packs are written under
    // another name, renamed when they are complete, and never opened for writing after that; a newer
    // one takes the name and leaves the file. Nothing else writes into the cache folder, which is
    // documented as ours.
    unsafe { Mmap::map(file) }
}

/// The pixels of the pack `path`, which is made first if there is none that is of use.
///
/// `fill(first, out)` decodes images from number `first` on, as many as `out` has room for, at most
/// `batch`; `wait` is called now and then while another process does so. Either ends it by failing.
///
/// # Errors
///
/// Fails if an image cannot be had or the pack cannot be written; then nothing is left of it.
pub(super) fn open_or_build(
    path: &Path,
    header: &Header,
    batch: usize,
    fill: impl Fn(usize, &mut [u8]) -> Result<(), DatasetError>,
    wait: impl Fn() -> Result<(), DatasetError>,
) -> Result<Pixels, DatasetError> {
    if let Some(pixels) = open(path, header)? {
        return Ok(pixels);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    let lock_path = path.with_extension("lock");
    let lock = File::options().create(true).write(true).truncate(false).open(&lock_path);
    let lock = lock.map_err(|source| unwritable(&lock_path, source))?;
    wait_for(&lock, &lock_path, wait)?;
    // Another process may have made it while this one waited.
    if let Some(pixels) = open(path, header)? {
        return Ok(pixels);
    }
    let mut failed = None;
    let written = write_whole(path, |file| {
        write(file, header, batch, |first, out| {
            fill(first, out).map_err(|error| {
                failed = Some(error);
                io::Error::other("an image cannot be decoded")
            })
        })
    });
    match (failed, written) {
        (Some(error), _) => return Err(error),
        (None, Err(source)) => return Err(unwritable(path, source)),
        (None, Ok(())) => {}
    }
    drop(lock);
    open(path, header)?.ok_or_else(|| {
        unwritable(path, io::Error::other("what was written is not what can be read again"))
    })
}

/// Takes the lock, and calls `wait` as long as another process has it. To let the system wait would
/// be simpler, but nothing could stop that.
fn wait_for(
    lock: &File,
    path: &Path,
    wait: impl Fn() -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => wait()?,
            Err(TryLockError::Error(source)) => return Err(unwritable(path, source)),
        }
        std::thread::sleep(AGAIN);
    }
}

fn unwritable(path: &Path, source: io::Error) -> DatasetError {
    DatasetError::Unwritable { path: path.to_owned(), source }
}

/// Writes a pack, `batch` images at a time.
fn write(
    file: &mut dyn Write,
    header: &Header,
    batch: usize,
    mut fill: impl FnMut(usize, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let too_large = || io::Error::other("there are too many pixels for a pack");
    let opening = header.bytes().ok_or_else(too_large)?;
    header.length().ok_or_else(too_large)?;
    let mut hash = Sha256::new_with_prefix(opening);
    file.write_all(&opening)?;
    let size = header.shape.len();
    let batch = batch.clamp(1, header.images.max(1));
    let mut pixels = vec![0; batch * size];
    for first in (0..header.images).step_by(batch) {
        let images = batch.min(header.images - first);
        let pixels = &mut pixels[..images * size];
        fill(first, pixels)?;
        hash.update(&*pixels);
        file.write_all(pixels)?;
    }
    file.write_all(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use lasnn_core::Shape;
    use tempfile::TempDir;

    use super::*;

    const HEADER_OF_FIVE: Header =
        Header { shape: Shape { channels: 1, height: 2, width: 2 }, images: 5, key: [9; 32] };

    /// The pixels of image `i` are `i`.
    fn fill(first: usize, out: &mut [u8]) {
        for (image, out) in out.chunks_exact_mut(4).enumerate() {
            out.fill((first + image) as u8);
        }
    }

    fn patiently() -> Result<(), DatasetError> {
        Ok(())
    }

    fn build(path: &Path) -> Pixels {
        let fill = |first, out: &mut [u8]| {
            assert!(out.len() <= 8, "more than a batch");
            fill(first, out);
            Ok(())
        };
        open_or_build(path, &HEADER_OF_FIVE, 2, fill, patiently).unwrap()
    }

    fn expected() -> Vec<u8> {
        (0..20).map(|at| at / 4).collect()
    }

    fn names(directory: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_pack_is_made_once_and_mapped_after_that() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        assert!(open(&path, &HEADER_OF_FIVE).unwrap().is_none());
        assert_eq!(build(&path)[..], expected());
        assert_eq!(open(&path, &HEADER_OF_FIVE).unwrap().unwrap()[..], expected());
        assert_eq!(names(&directory), ["a.lock", "a.pack"]);
        let never = |_: usize, _: &mut [u8]| panic!("it is there already");
        assert_eq!(
            open_or_build(&path, &HEADER_OF_FIVE, 2, never, patiently).unwrap()[..],
            expected()
        );
    }

    #[test]
    fn a_pack_of_other_images_is_of_no_use() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        build(&path);
        for other in [
            Header { key: [8; 32], ..HEADER_OF_FIVE },
            Header { images: 4, ..HEADER_OF_FIVE },
            Header { shape: Shape { channels: 2, height: 1, width: 2 }, ..HEADER_OF_FIVE },
        ] {
            assert!(open(&path, &other).unwrap().is_none(), "{other:?}");
        }
    }

    #[test]
    fn damage_of_any_byte_and_any_length_is_noticed_and_made_good() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        build(&path);
        let whole = fs::read(&path).unwrap();
        let spoilt = (0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            bytes
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in spoilt.chain(cut).chain([[&whole[..], &[0]].concat()]) {
            // Over another file, as whatever damages a pack may do, but not one that is mapped.
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes).unwrap();
            assert!(open(&path, &HEADER_OF_FIVE).unwrap().is_none());
        }
        assert_eq!(build(&path)[..], expected());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_mapped_pack_outlives_the_one_that_takes_its_name() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        let old = build(&path);
        let other = Header { key: [1; 32], ..HEADER_OF_FIVE };
        let dark = |_: usize, out: &mut [u8]| {
            out.fill(0);
            Ok(())
        };
        assert_eq!(open_or_build(&path, &other, 3, dark, patiently).unwrap()[..], [0; 20]);
        assert_eq!(old[..], expected());
    }

    #[test]
    fn one_makes_it_and_the_others_wait() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let count = |first, out: &mut [u8]| {
                        made.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(5));
                        fill(first, out);
                        Ok(())
                    };
                    let pixels =
                        open_or_build(&path, &HEADER_OF_FIVE, 2, count, patiently).unwrap();
                    assert_eq!(pixels[..], expected());
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 3, "three batches, once");
    }

    #[test]
    fn waiting_for_another_can_be_stopped() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        let lock = File::create(directory.path().join("a.lock")).unwrap();
        lock.lock().unwrap();
        let never = |_: usize, _: &mut [u8]| panic!("another process does that");
        let asked = AtomicUsize::new(0);
        let third = || match asked.fetch_add(1, Ordering::SeqCst) {
            2 => Err(DatasetError::Interrupted),
            _ => Ok(()),
        };
        let error = open_or_build(&path, &HEADER_OF_FIVE, 2, never, third).unwrap_err();
        assert!(matches!(error, DatasetError::Interrupted), "{error}");
        drop(lock);
        assert_eq!(build(&path)[..], expected());
    }

    #[test]
    fn an_image_that_fails_leaves_nothing() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        let fail = |first: usize, out: &mut [u8]| {
            fill(first, out);
            match first {
                4 => Err(DatasetError::config("source", "broken", "whole")),
                _ => Ok(()),
            }
        };
        let error = open_or_build(&path, &HEADER_OF_FIVE, 2, fail, patiently).unwrap_err();
        assert!(matches!(error, DatasetError::Config { .. }), "{error}");
        assert_eq!(names(&directory), ["a.lock"]);
        // What a killed process leaves is no hindrance.
        fs::write(directory.path().join("a.pack.part"), [1; 1000]).unwrap();
        assert_eq!(build(&path)[..], expected());
        assert_eq!(names(&directory), ["a.lock", "a.pack"]);
    }

    /// A disk with room for some bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = bytes.len().min(self.0);
            self.0 -= written;
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_an_error_at_every_byte() {
        let length = HEADER_OF_FIVE.length().unwrap();
        let written = |room| {
            write(&mut Disk(room), &HEADER_OF_FIVE, 2, |first, out| {
                fill(first, out);
                Ok(())
            })
        };
        for room in 0..length {
            assert_eq!(written(room).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        written(length).unwrap();
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_named() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"").unwrap();
        let never = |_: usize, _: &mut [u8]| panic!("nothing to decode for");
        let error =
            open_or_build(&file.join("a.pack"), &HEADER_OF_FIVE, 2, never, patiently).unwrap_err();
        assert!(
            matches!(error, DatasetError::Unwritable { .. } | DatasetError::Unreadable { .. }),
            "{error:?}"
        );
    }
}
