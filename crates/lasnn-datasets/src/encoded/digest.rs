//! Whether files are those of last time.
//!
//! The content of a data set is named by a SHA-256 over the lines `<path> <length> <SHA-256>` of its
//! files, sorted by path, each with a zero byte for the space and at its end, the length as 8 bytes
//! and the hash as 32. A folder and an archive of the same files have the same.
//!
//! Reading every file takes long where there are 100,000. So the hash is remembered beside a
//! [fingerprint](super::fingerprint) of paths, lengths and times; as long as that is the same, no
//! file is read. On Unix that takes in the time of the last change of any kind, which no program can
//! set. Elsewhere a file that is replaced by another of the same length and the same time of writing
//! is not noticed; whoever does that deletes the `.seen` files of the cache folder. Nor is it noticed
//! anywhere if a disk loses a bit, unless everything is asked to be read again.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::files::Files;
use super::{Keeping, LONGEST_IMAGE, hex};
use crate::error::DatasetError;
use crate::progress::Step;
use crate::write::write_whole;

/// So many files are hashed between two reports; few, since only a report can stop it.
const BATCH: usize = 128;

/// The hashes of files.
#[derive(Debug)]
pub(super) struct Hashed<'a> {
    /// The content of all, as 64 hexadecimal digits.
    pub content: String,
    /// The name and the hash of each, sorted by name.
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
    keeping: Keeping<'_>,
) -> Result<Hashed<'a>, DatasetError> {
    let one = |name: &&'a str| -> Result<(&'a str, u64, [u8; 32]), DatasetError> {
        let bytes = files.read(name, LONGEST_IMAGE, "the file that was there just now")?;
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
        keeping.report(Step::Hashing, hashed.len(), names.len())?;
    }
    Ok(Hashed { content: hex(&content.finalize()), files: hashed })
}

/// The content that files of this fingerprint had, if it is remembered.
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

/// Remembers it. Should that fail, files are only hashed again the next time.
pub(super) fn remember(cache_dir: &Path, name: &str, fingerprint: Option<[u8; 32]>, content: &str) {
    let Some(fingerprint) = fingerprint else { return };
    let path = seen(cache_dir, name, &fingerprint);
    let line = format!("{} {content}\n", hex(&fingerprint));
    if let Err(error) = write_whole(&path, |file| file.write_all(line.as_bytes())) {
        tracing::debug!(path = %path.display(), %error, "the files will be hashed again");
    }
}

fn seen(cache_dir: &Path, name: &str, fingerprint: &[u8]) -> PathBuf {
    cache_dir.join(format!("{name}-{}.seen", hex(&fingerprint[..8])))
}
