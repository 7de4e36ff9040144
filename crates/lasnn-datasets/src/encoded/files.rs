//! The files of a data set in a folder or in a zip archive.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zip::ZipArchive;

use crate::error::{DatasetError, Flaw};
use crate::formats;
use crate::read::{NOT_A_FILE, check_length, open, read, read_from, unreadable};

/// The files below a root. Their paths are relative to it and use `/` on every system.
#[derive(Debug)]
pub(crate) enum Files {
    /// In a folder.
    Folder(PathBuf),
    /// In a zip archive, below a folder of it.
    Zip(Zip),
}

/// A zip archive.
#[derive(Debug)]
pub(crate) struct Zip {
    path: PathBuf,
    /// The folder in the archive that is the root.
    root: String,
    /// The files below the root.
    names: BTreeSet<String>,
    /// Unpacking a small file is much faster than decoding it, so threads may wait for each other.
    archive: Mutex<ZipArchive<BufReader<File>>>,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub is_folder: bool,
}

impl Files {
    /// Opens the archive `path`, whose folder `root` is the root.
    pub(crate) fn in_zip(path: &Path, root: &str) -> Result<Self, DatasetError> {
        let file = open(path, "a zip archive")?;
        let opened = formats::zip::open(BufReader::new(file));
        let (archive, names) = opened.map_err(|flaw| flaw.of(path))?;
        let root = format!("{root}/");
        let below = |name: &String| name.strip_prefix(&root).map(str::to_owned);
        let names = names.iter().filter_map(below).collect();
        Ok(Self::Zip(Zip { path: path.to_owned(), root, names, archive: Mutex::new(archive) }))
    }

    /// The path of a file for errors. In an archive, it begins with the path of the archive.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(root) if name.is_empty() => root.clone(),
            Self::Folder(root) => root.join(name),
            Self::Zip(zip) => zip.path.join(format!("{}{name}", zip.root)),
        }
    }

    /// The entries of a folder, sorted by name, without hidden ones (their names begin with a dot).
    /// A link counts as its target.
    pub(crate) fn list(&self, folder: &str, expected: &str) -> Result<Vec<Entry>, DatasetError> {
        let path = self.path(folder);
        let mut entries = match self {
            Self::Folder(_) => list_folder(&path, expected)?,
            Self::Zip(zip) => zip.list(folder),
        };
        if entries.is_empty() && matches!(self, Self::Zip(_)) {
            return Err(DatasetError::Missing { path, expected: expected.to_owned() });
        }
        entries.retain(|entry| !entry.name.starts_with('.'));
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Reads a file of at most `longest` bytes.
    pub(crate) fn read(
        &self,
        name: &str,
        longest: usize,
        expected: &str,
    ) -> Result<Vec<u8>, DatasetError> {
        match self {
            Self::Folder(root) => read(&root.join(name), longest, expected),
            Self::Zip(zip) => {
                let path = self.path(name);
                if !zip.names.contains(name) {
                    return Err(DatasetError::Missing { path, expected: expected.to_owned() });
                }
                zip.read(name, longest).map_err(|flaw| flaw.of(path))
            }
        }
    }

    /// Where the files `names` are on the disk: the root folder and these names, or the archive and
    /// one empty name.
    pub(super) fn on_disk<'a>(&'a self, names: &'a [&'a str]) -> (&'a Path, &'a [&'a str]) {
        match self {
            Self::Folder(root) => (root, names),
            Self::Zip(zip) => (&zip.path, &[""]),
        }
    }
}

impl Zip {
    fn list(&self, folder: &str) -> Vec<Entry> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut entries: Vec<Entry> = Vec::new();
        let below = self.names.range(prefix.clone()..);
        for name in below.map_while(|name| name.strip_prefix(&prefix)) {
            let (name, is_folder) = match name.split_once('/') {
                Some((folder, _)) => (folder, true),
                None => (name, false),
            };
            // The files of a folder are neighbours in the sorted list.
            if entries.last().is_none_or(|last| last.name != name) {
                entries.push(Entry { name: name.to_owned(), is_folder });
            }
        }
        entries
    }

    fn read(&self, name: &str, longest: usize) -> Result<Vec<u8>, Flaw> {
        // A thread that panicked cannot have left the archive in an invalid state.
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = archive.by_name(&format!("{}{name}", self.root));
        let mut entry = entry.map_err(formats::zip::damaged)?;
        let size = entry.size();
        let bytes = read_from(entry.by_ref(), longest, size)
            .map_err(|error| formats::zip::damaged(error.into()))?;
        check_length(&bytes, longest)?;
        Ok(bytes)
    }
}

fn list_folder(path: &Path, expected: &str) -> Result<Vec<Entry>, DatasetError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(|source| unreadable(path, source, expected))? {
        let entry = entry.map_err(|source| unreadable(path, source, expected))?;
        let file = entry.path();
        let name = entry.file_name().into_string().map_err(|_| {
            Flaw::file("a name that is not UTF-8", "names in UTF-8").of(file.clone())
        })?;
        if name.starts_with('.') {
            continue;
        }
        let unreadable = |source| unreadable(&file, source, "a file or folder");
        let mut kind = entry.file_type().map_err(unreadable)?;
        if kind.is_symlink() {
            kind = fs::metadata(&file).map_err(unreadable)?.file_type();
        }
        if !kind.is_dir() && !kind.is_file() {
            return Err(Flaw::file(NOT_A_FILE, "a file or folder").of(file));
        }
        entries.push(Entry { name, is_folder: kind.is_dir() });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::formats::zip::tests::archive;

    const FILES: [(&str, &[u8]); 5] = [
        ("root/b/2.txt", b"two"),
        ("root/b/10.txt", b"ten"),
        ("root/a.txt", b"a"),
        ("root/.hidden/x", b"x"),
        ("elsewhere/y", b"y"),
    ];

    /// Makes a folder and an archive with the same files.
    fn both() -> (TempDir, [Files; 2]) {
        let directory = TempDir::new().unwrap();
        for (name, bytes) in FILES {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let path = directory.path().join("files.zip");
        fs::write(&path, archive(&FILES)).unwrap();
        let zip = Files::in_zip(&path, "root").unwrap();
        let folder = Files::Folder(directory.path().join("root"));
        (directory, [folder, zip])
    }

    #[test]
    fn a_folder_and_an_archive_have_the_same_files_in_the_same_order() {
        let (_directory, both) = both();
        for files in both {
            let list = |folder| -> Vec<(String, bool)> {
                let entries = files.list(folder, "files").unwrap();
                entries.into_iter().map(|entry| (entry.name, entry.is_folder)).collect()
            };
            assert_eq!(list(""), [("a.txt".into(), false), ("b".into(), true)]);
            assert_eq!(list("b"), [("10.txt".into(), false), ("2.txt".into(), false)]);
            assert_eq!(files.read("b/2.txt", 3, "").unwrap(), b"two");
            let error = files.read("b/2.txt", 2, "").unwrap_err().to_string();
            assert!(
                error.contains("found byte 111, expected the end of the file after"),
                "{error}"
            );
            for missing in ["b/3.txt", "../elsewhere/z"] {
                let error = files.read(missing, 3, "three").unwrap_err();
                assert!(matches!(error, DatasetError::Missing { .. }), "{error}");
            }
            let error = files.list("c", "the folder c").unwrap_err().to_string();
            assert!(error.ends_with("does not exist, expected the folder c"), "{error}");
        }
    }

    /// More files than 16 bits can count, like the images of Tiny ImageNet.
    #[test]
    fn an_archive_may_have_a_long_list() {
        const FILES: usize = 70_000;
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("files.zip");
        let names: Vec<String> =
            (0..FILES).map(|file| format!("root/{}/{file}", file % 2)).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
        fs::write(&path, archive(&[&files[..], &[("root/last", b"abc")]].concat())).unwrap();
        let files = Files::in_zip(&path, "root").unwrap();
        assert_eq!(files.list("", "").unwrap().len(), 3);
        for half in ["0", "1"] {
            assert_eq!(files.list(half, "").unwrap().len(), FILES / 2);
        }
        assert_eq!(files.read("1/69999", 0, "").unwrap(), b"");
        assert_eq!(files.read("last", 3, "").unwrap(), b"abc");
    }

    #[test]
    fn an_entry_that_is_damaged_is_named() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.zip");
        let mut bytes = archive(&[("packed", b""), ("root/stored", b"some plain bytes")]);
        let at = bytes.windows(5).position(|window| window == b"plain").unwrap();
        bytes[at] = b'P';
        fs::write(&path, bytes).unwrap();
        let files = Files::in_zip(&path, "root").unwrap();
        let error = files.read("stored", 100, "").unwrap_err().to_string();
        assert!(error.contains("a.zip/root/stored: found zip data that cannot be read"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_end() {
        use std::os::unix::fs::symlink;
        let (directory, [files, _]) = both();
        let root = directory.path().join("root");
        symlink("b/2.txt", root.join("link.txt")).unwrap();
        symlink("..", root.join("up")).unwrap();
        let entries = files.list("", "files").unwrap();
        let kinds: Vec<bool> = entries.iter().map(|entry| entry.is_folder).collect();
        assert_eq!(kinds, [false, true, false, true]);
        symlink("round", root.join("round")).unwrap();
        let error = files.list("", "files").unwrap_err();
        assert!(matches!(error, DatasetError::Unreadable { .. }), "{error}");
        fs::remove_file(root.join("round")).unwrap();
        symlink("nowhere", root.join("round")).unwrap();
        let error = files.list("", "files").unwrap_err();
        assert!(matches!(error, DatasetError::Missing { .. }), "{error}");
    }
}
