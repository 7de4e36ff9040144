//! Packs: the decoded pixels of a data set in one file that is mapped into memory.
//!
//! A pack is a safetensors file. Its tensor `pixels` (`U8`, images x channels x height x width) is
//! followed by the tensor `sha256` (`U8`, 32), the SHA-256 of the pixels. Its metadata entry `key`
//! identifies the files and the rules that the pixels were made with.
//!
//! A pack is written under the name `*.part` and renamed when it is complete; after that it never
//! changes. If several processes need the same pack, the first one locks `*.lock` and makes it,
//! and the others wait. A damaged pack is made again and takes over the name; processes that have
//! the old file mapped keep it.

#![allow(unsafe_code, reason = "a file mapped into memory")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use lasnn_core::Shape;
use memmap2::Mmap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};

use crate::error::DatasetError;
use crate::hex::hex;
use crate::lock::lock;
use crate::pixels::Pixels;
use crate::write::write_atomically;

/// The version of the layout of packs. Another number makes older packs unusable.
pub(super) const VERSION: u32 = 2;
/// The length of the checksum in bytes.
const CHECKSUM: usize = 32;

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The shape of every image.
    pub shape: Shape,
    /// The number of images.
    pub images: usize,
    /// Identifies the files and the rules that the pixels were made with.
    pub key: [u8; 32],
}

impl Contents {
    /// The header of the file and the number of bytes of its pixels.
    fn layout(&self) -> io::Result<(Vec<u8>, usize)> {
        let Shape { channels, height, width } = self.shape;
        let dimensions = vec![self.images, channels, height, width];
        let pixels = dimensions.iter().try_fold(1, |product: usize, &n| product.checked_mul(n));
        let end = pixels.and_then(|pixels| pixels.checked_add(CHECKSUM));
        let (Some(pixels), Some(end)) = (pixels, end) else {
            return Err(io::Error::other("a pack cannot hold so many pixels"));
        };
        let tensor =
            |shape, from, to| TensorInfo { dtype: Dtype::U8, shape, data_offsets: (from, to) };
        let tensors = vec![
            ("pixels".to_owned(), tensor(dimensions, 0, pixels)),
            ("sha256".to_owned(), tensor(vec![CHECKSUM], pixels, end)),
        ];
        let key = HashMap::from([("key".to_owned(), hex(&self.key))]);
        let metadata = Metadata::new(Some(key), tensors).map_err(io::Error::other)?;
        let mut json = serde_json::to_vec(&metadata)?;
        // As the safetensors library does, so that the pixels are aligned.
        json.resize(json.len().next_multiple_of(8), b' ');
        let length = (json.len() as u64).to_le_bytes();
        Ok(([&length[..], &json].concat(), pixels))
    }
}

/// Opens the pack `path`. Returns `None` if the file does not exist, is damaged or holds something
/// other than `wanted`.
///
/// # Errors
///
/// Fails if the file exists but cannot be read.
pub(super) fn open(path: &Path, wanted: &Contents) -> Result<Option<Pixels>, DatasetError> {
    let failed = |source| DatasetError::Unreadable { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mapped = map(&file).map_err(failed)?;
    let (header, pixels) = wanted.layout().map_err(failed)?;
    // The header must be the very bytes that this program writes, so it need not be parsed.
    let checked = mapped.strip_prefix(&header[..]).and_then(|data| data.split_at_checked(pixels));
    if checked.is_none_or(|(pixels, checksum)| checksum != &Sha256::digest(pixels)[..]) {
        tracing::warn!(path = %path.display(), "a pack is damaged or holds other images");
        return Ok(None);
    }
    Ok(Some(Pixels::new(mapped).part(header.len()..header.len() + pixels)))
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapped file must not be changed or truncated while it is mapped. A pack is written
    // under another name, renamed when it is complete, and never opened for writing after that; a
    // newer pack replaces the name, not the file. No other program may write into the cache
    // folder; the documentation of `LoadOptions::cache_dir` says so.
    unsafe { Mmap::map(file) }
}

/// Opens the pack `path` and makes it first if there is no usable one.
///
/// `fill(first, out)` decodes the images from number `first` on, as many as `out` has room for, at
/// most `batch`. `wait` is called repeatedly while another process makes the pack. An error of
/// either one ends this function.
///
/// # Errors
///
/// Fails if an image cannot be decoded or the pack cannot be written; no part of it is left then.
pub(super) fn open_or_build(
    path: &Path,
    contents: &Contents,
    batch: usize,
    fill: impl Fn(usize, &mut [u8]) -> Result<(), DatasetError>,
    wait: impl Fn() -> Result<(), DatasetError>,
) -> Result<Pixels, DatasetError> {
    if let Some(pixels) = open(path, contents)? {
        return Ok(pixels);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    let lock_path = path.with_extension("lock");
    let _lock = lock(&lock_path, |source| unwritable(&lock_path, source), wait)?;
    // Another process may have made it while this one waited for the lock.
    if let Some(pixels) = open(path, contents)? {
        return Ok(pixels);
    }
    let mut failed = None;
    let written = write_atomically(path, |file| {
        write(file, contents, batch, |first, out| {
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
    open(path, contents)?.ok_or_else(|| {
        unwritable(path, io::Error::other("the file does not hold what was written to it"))
    })
}

fn unwritable(path: &Path, source: io::Error) -> DatasetError {
    DatasetError::Unwritable { path: path.to_owned(), source }
}

/// Writes a pack, `batch` images at a time.
fn write(
    file: &mut dyn Write,
    contents: &Contents,
    batch: usize,
    mut fill: impl FnMut(usize, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (header, length) = contents.layout()?;
    file.write_all(&header)?;
    let size = contents.shape.len();
    let batch = batch.clamp(1, contents.images.max(1));
    let mut hash = Sha256::new();
    let mut pixels = vec![0; (batch * size).min(length)];
    for first in (0..contents.images).step_by(batch) {
        let pixels = &mut pixels[..batch.min(contents.images - first) * size];
        fill(first, pixels)?;
        hash.update(&*pixels);
        file.write_all(pixels)?;
    }
    file.write_all(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use safetensors::SafeTensors;
    use tempfile::TempDir;

    use super::*;

    const FIVE: Contents =
        Contents { shape: Shape { channels: 1, height: 2, width: 2 }, images: 5, key: [9; 32] };

    /// The pixels of image `i` are `i`.
    fn fill(first: usize, out: &mut [u8]) {
        for (image, out) in out.chunks_exact_mut(4).enumerate() {
            out.fill((first + image) as u8);
        }
    }

    fn keep_waiting() -> Result<(), DatasetError> {
        Ok(())
    }

    fn build(path: &Path) -> Pixels {
        let fill = |first, out: &mut [u8]| {
            assert!(out.len() <= 8, "more than a batch");
            fill(first, out);
            Ok(())
        };
        open_or_build(path, &FIVE, 2, fill, keep_waiting).unwrap()
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
        assert!(open(&path, &FIVE).unwrap().is_none());
        assert_eq!(build(&path)[..], expected());
        assert_eq!(open(&path, &FIVE).unwrap().unwrap()[..], expected());
        assert_eq!(names(&directory), ["a.lock", "a.pack"]);
        let never = |_: usize, _: &mut [u8]| panic!("the pack exists");
        assert_eq!(open_or_build(&path, &FIVE, 2, never, keep_waiting).unwrap()[..], expected());
    }

    #[test]
    fn any_program_can_read_a_pack() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        build(&path);
        let bytes = fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let pixels = tensors.tensor("pixels").unwrap();
        assert_eq!((pixels.shape(), pixels.data()), (&[5, 1, 2, 2][..], &expected()[..]));
        assert_eq!(tensors.tensor("sha256").unwrap().data(), &Sha256::digest(expected())[..]);
    }

    #[test]
    fn a_pack_of_other_images_is_not_used() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        build(&path);
        for other in [
            Contents { key: [8; 32], ..FIVE },
            Contents { images: 4, ..FIVE },
            Contents { shape: Shape { channels: 2, height: 1, width: 2 }, ..FIVE },
        ] {
            assert!(open(&path, &other).unwrap().is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_pack_with_any_damage_is_made_again() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        build(&path);
        let complete = fs::read(&path).unwrap();
        let spoilt = (0..complete.len()).map(|at| {
            let mut bytes = complete.clone();
            bytes[at] ^= 0x40;
            bytes
        });
        let cut = (0..complete.len()).map(|length| complete[..length].to_vec());
        for bytes in spoilt.chain(cut).chain([[&complete[..], &[0]].concat()]) {
            // A new file, since the old one may still be mapped.
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes).unwrap();
            assert!(open(&path, &FIVE).unwrap().is_none());
        }
        assert_eq!(build(&path)[..], expected());
        assert_eq!(fs::read(&path).unwrap(), complete);
    }

    #[test]
    fn a_mapped_pack_survives_its_replacement() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        let old = build(&path);
        let other = Contents { key: [1; 32], ..FIVE };
        let dark = |_: usize, out: &mut [u8]| {
            out.fill(0);
            Ok(())
        };
        assert_eq!(open_or_build(&path, &other, 3, dark, keep_waiting).unwrap()[..], [0; 20]);
        assert_eq!(old[..], expected());
    }

    #[test]
    fn one_process_makes_the_pack_and_the_others_wait() {
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
                    let pixels = open_or_build(&path, &FIVE, 2, count, keep_waiting).unwrap();
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
        let never = |_: usize, _: &mut [u8]| panic!("another process makes the pack");
        let calls = AtomicUsize::new(0);
        let third = || match calls.fetch_add(1, Ordering::SeqCst) {
            2 => Err(DatasetError::Interrupted),
            _ => Ok(()),
        };
        let error = open_or_build(&path, &FIVE, 2, never, third).unwrap_err();
        assert!(matches!(error, DatasetError::Interrupted), "{error}");
        drop(lock);
        assert_eq!(build(&path)[..], expected());
    }

    #[test]
    fn an_image_that_fails_leaves_no_pack() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.pack");
        let fail = |first: usize, out: &mut [u8]| {
            fill(first, out);
            match first {
                4 => Err(DatasetError::config("source", "broken", "complete")),
                _ => Ok(()),
            }
        };
        let error = open_or_build(&path, &FIVE, 2, fail, keep_waiting).unwrap_err();
        assert!(matches!(error, DatasetError::Config { .. }), "{error}");
        assert_eq!(names(&directory), ["a.lock"]);
        // The rest that a killed process has left does no harm.
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
        let (header, pixels) = FIVE.layout().unwrap();
        let length = header.len() + pixels + CHECKSUM;
        let written = |room| {
            write(&mut Disk(room), &FIVE, 2, |first, out| {
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
        let never = |_: usize, _: &mut [u8]| panic!("the pack cannot be written");
        let error = open_or_build(&file.join("a.pack"), &FIVE, 2, never, keep_waiting).unwrap_err();
        assert!(
            matches!(error, DatasetError::Unwritable { .. } | DatasetError::Unreadable { .. }),
            "{error:?}"
        );
    }
}
