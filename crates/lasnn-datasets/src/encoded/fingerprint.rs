//! A fingerprint that changes when files change, made without reading any of them.

use std::fs::{self, Metadata};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::files::Files;
use crate::error::DatasetError;
use crate::read::unreadable;

/// More than the resolution of the clock of any file system.
const RESOLUTION: Duration = Duration::from_secs(2);

/// A hash over the paths, lengths and modification times of the files. `None` if it could miss a
/// change: if a file is so new that a later change may have the same time, or if the system keeps
/// no times.
pub(super) fn of_files(files: &Files, names: &[&str]) -> Result<Option<[u8; 32]>, DatasetError> {
    let now = SystemTime::now();
    let (root, names) = files.on_disk(names);
    let metadata = |name: &&str| {
        let path = if name.is_empty() { root.to_owned() } else { root.join(name) };
        let found = fs::metadata(&path);
        found.map_err(|source| unreadable(&path, source, "the file that existed a moment ago"))
    };
    let all: Vec<_> = names.par_iter().map(metadata).collect();
    let absolute = fs::canonicalize(root);
    let absolute = absolute.map_err(|source| unreadable(root, source, "the data set"))?;
    let mut hash = Sha256::new_with_prefix(absolute.as_os_str().as_encoded_bytes());
    for (name, found) in names.iter().zip(all) {
        let found = found?;
        let Ok(modified) = found.modified() else { return Ok(None) };
        let age = now.duration_since(modified).ok().filter(|age| *age > RESOLUTION);
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok();
        let (Some(_), Some(since)) = (age, since) else { return Ok(None) };
        hash.update([0]);
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(found.len().to_le_bytes());
        hash.update(since.as_nanos().to_le_bytes());
        identity(&found).iter().for_each(|number| hash.update(number.to_le_bytes()));
    }
    Ok(Some(hash.finalize().into()))
}

/// The inode number of a file and the time of its last status change. Programs can set the
/// modification time of a file, but not this time.
#[cfg(unix)]
fn identity(found: &Metadata) -> [i64; 3] {
    use std::os::unix::fs::MetadataExt;
    [found.ino() as i64, found.ctime(), found.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i64; 0] {
    []
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_change_of_length_time_or_place_changes_the_fingerprint() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a");
        let of_a = || of_files(&Files::Folder(directory.path().to_owned()), &["a"]).unwrap();
        let set = |bytes: &[u8], seconds| {
            fs::write(&path, bytes).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            of_a()
        };
        let before = set(b"1", 1000);
        assert!(before.is_some());
        assert_eq!(of_a(), before);
        assert_ne!(set(b"12", 1000), before);
        assert_ne!(set(b"1", 1001), before);
        // Another file with the same length and modification time replaces this one.
        let before = set(b"1", 1000);
        fs::rename(&path, directory.path().join("b")).unwrap();
        assert_eq!(set(b"2", 1000) != before, cfg!(unix));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(set(b"1", now + 1000), None, "the file is too new");
    }
}
