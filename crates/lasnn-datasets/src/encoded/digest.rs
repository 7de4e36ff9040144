//! The content hash of a data set, and whether its files have changed.
//!
//! The content hash is a SHA-256 over all files, sorted by path. For each file it covers the path,
//! a zero byte, the length in 8 bytes, a zero byte, the 32 bytes of the file's SHA-256, and a zero
//! byte. A folder and an archive of the same files have the same content hash.
//!
//! Reading 100,000 files takes long. So the content hash is stored with a
//! [fingerprint](super::fingerprint) of paths, lengths and times. While the fingerprint stays the
//! same, no file is read. On Unix the fingerprint covers the time of the last status change, which
//! no program can set. On other systems it misses a replacement with the same length and the same
//! modification time; whoever makes one deletes the `.seen` files of the cache folder. A bit that a
//! disk loses is found only if all files are read again.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::files::Files;
use super::{CacheOptions, LONGEST_IMAGE};
use crate::error::DatasetError;
use crate::hex::hex;
use crate::progress::Step;
use crate::write::write_atomically;

/// The number of files that are hashed between two progress reports. It is small because hashing
/// can be stopped only at a report.
const BATCH: usize = 128;

/// The hashes of files.
#[derive(Debug)]
pub(super) struct Hashed<'a> {
    /// The content hash in 64 hexadecimal digits.
    pub content: String,
    /// The name and the hash of each file, sorted by name.
    files: Vec<(&'a str, [u8; 32])>,
}

impl Hashed<'_> {
    /// Whether the file `name` had these bytes when it was hashed.
    pub(super) fn has(&self, name: &str, bytes: &[u8]) -> bool {
        let found = self.files.binary_search_by(|(known, _)| (*known).cmp(name));
        found.is_ok_and(|at| self.files[at].1[..] == Sha256::digest(bytes)[..])
    }
}

/// Reads and hashes the files `names`, which are sorted.
pub(super) fn of_files<'a>(
    files: &Files,
    names: &[&'a str],
    cache: CacheOptions<'_>,
) -> Result<Hashed<'a>, DatasetError> {
    let one = |name: &&'a str| -> Result<(&'a str, u64, [u8; 32]), DatasetError> {
        let bytes = files.read(name, LONGEST_IMAGE, "the file that existed a moment ago")?;
        Ok((*name, bytes.len() as u64, Sha256::digest(&bytes).into()))
    };
    let mut content = Sha256::new();
    let mut hashed = Vec::with_capacity(names.len());
    for batch in names.chunks(BATCH) {
        let batch: Vec<_> = batch.par_iter().map(one).collect();
        for file in batch {
            let (name, length, hash) = file?;
            content.update(name.as_bytes());
            content.update([0]);
            content.update(length.to_le_bytes());
            content.update([0]);
            content.update(hash);
            content.update([0]);
            hashed.push((name, hash));
        }
        cache.report(Step::Hashing, hashed.len(), names.len())?;
    }
    Ok(Hashed { content: hex(&content.finalize()), files: hashed })
}

/// The stored content hash of the files with this fingerprint, if there is one.
pub(super) fn recall(
    cache_dir: &Path,
    name: &str,
    fingerprint: Option<[u8; 32]>,
) -> Option<String> {
    let fingerprint = fingerprint?;
    let line = fs::read_to_string(seen(cache_dir, name, &fingerprint)).ok()?;
    let (known, content) = line.trim_end().split_once(' ')?;
    let is_hash = content.len() == 64 && content.bytes().all(|byte| byte.is_ascii_hexdigit());
    (known == hex(&fingerprint) && is_hash).then(|| content.to_owned())
}

/// Stores a content hash. A failure is harmless: the files are hashed again the next time.
pub(super) fn remember(cache_dir: &Path, name: &str, fingerprint: Option<[u8; 32]>, content: &str) {
    let Some(fingerprint) = fingerprint else { return };
    let path = seen(cache_dir, name, &fingerprint);
    let line = format!("{} {content}\n", hex(&fingerprint));
    if let Err(error) = write_atomically(&path, |file| file.write_all(line.as_bytes())) {
        tracing::debug!(path = %path.display(), %error, "the files will be hashed again");
    }
}

fn seen(cache_dir: &Path, name: &str, fingerprint: &[u8]) -> PathBuf {
    cache_dir.join(format!("{name}-{}.seen", hex(&fingerprint[..8])))
}
