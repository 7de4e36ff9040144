//! What CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009) have in common: how their official binary
//! versions are laid out, read and checked.
//!
//! Files of records, each of one or two bytes for the classes, then 1,024 bytes each for red, green
//! and blue, row by row; and text files of class names, one per line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lasnn_core::Shape;

use crate::dataset::{Dataset, Images, sha256};
use crate::error::{DatasetError, Flaw};
use crate::formats::records::Layout;
use crate::formats::text;
use crate::read::{is_folder, read};

pub(crate) const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };
/// Bytes of pixels in a record.
pub(crate) const PIXELS: usize = 3 * 32 * 32;
/// Far more than a hundred class names need.
const LONGEST_NAMES: usize = 4096;

/// One of the two data sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edition {
    /// The source's name.
    pub name: &'static str,
    /// What its files hold, for the error about the first file that is looked for.
    pub title: &'static str,
    /// The folder that the official archive unpacks to.
    pub folder: &'static str,
    /// The files of training images, in order.
    pub train: &'static [Part],
    /// The file of test images.
    pub test: Part,
    pub layout: Layout,
    /// The file of class names for each label of a record.
    pub names: &'static [&'static str],
}

/// A file of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub file: &'static str,
    pub records: usize,
}

/// Reads and checks all of `edition`; the classes are those of label number `label`.
///
/// The files are looked for in its folder below `data_dir` if there is one, else in `data_dir`
/// itself. The SHA-256 is that of all training files, the test file and the files of names, one
/// after the other.
pub(crate) fn load(
    edition: &Edition,
    data_dir: &Path,
    label: usize,
) -> Result<Dataset, DatasetError> {
    let folder = data_dir.join(edition.folder);
    let directory = if is_folder(&folder)? { folder } else { data_dir.to_owned() };
    let mut names = Vec::with_capacity(edition.names.len());
    let mut class_names = Vec::with_capacity(edition.names.len());
    for (name, described) in edition.names.iter().zip(edition.layout.labels) {
        let path = directory.join(name);
        // The first file that is looked for, so a wrong directory is noticed with this hint.
        let expected = format!(
            "the class names of {}'s binary version, which is looked for in the data directory and \
             in its folder `{}`",
            edition.title, edition.folder,
        );
        let bytes = read(&path, LONGEST_NAMES, &expected)?;
        let parsed = text::class_names(&bytes, described.classes);
        class_names.push(parsed.map_err(|flaw| flaw.of(&path))?);
        names.push(bytes);
    }
    let parts = || edition.train.iter().chain([&edition.test]);
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::with_capacity(edition.train.len() + 1);
    for part in parts() {
        let path = directory.join(part.file);
        let bytes = read_records(edition.layout, part.records, &path)?;
        // Copied one over the other, files are well-formed but not the data set.
        if let Some((twin, _)) = files.iter().find(|(_, known)| *known == bytes) {
            let flaw = Flaw::file(format!("the bytes of {}", twin.display()), "images of its own");
            return Err(flaw.of(path));
        }
        files.push((path, bytes));
    }
    let records = files.iter().map(|(_, bytes)| bytes);
    let sha256 = sha256(records.chain(&names).map(Vec::as_slice));
    let (train, test) = files.split_at(edition.train.len());
    Ok(Dataset {
        name: edition.name.into(),
        shape: SHAPE,
        classes: edition.layout.labels[label].classes,
        class_names: class_names.swap_remove(label),
        validation: None,
        train: Arc::new(images(edition.layout, label, train)),
        test: Arc::new(images(edition.layout, label, test)),
        sha256,
    })
}

/// Reads a file of exactly `records` records and checks every label in it.
fn read_records(layout: Layout, records: usize, path: &Path) -> Result<Vec<u8>, DatasetError> {
    let (record, length) = (layout.record(), records * layout.record());
    let bytes = read(path, length, &format!("{length} bytes ({records} records of {record})"))?;
    layout.check(&bytes, records).map_err(|flaw| flaw.of(path))?;
    Ok(bytes)
}

fn images(layout: Layout, label: usize, files: &[(PathBuf, Vec<u8>)]) -> Images {
    let records = || files.iter().flat_map(|(_, bytes)| bytes.chunks_exact(layout.record()));
    let mut pixels = Vec::with_capacity(records().count() * layout.pixels);
    records().for_each(|record| pixels.extend_from_slice(&record[layout.labels.len()..]));
    let labels = records().map(|record| u32::from(record[label])).collect();
    Images { pixels: pixels.into(), labels, shape: SHAPE }
}

/// Small editions for tests, in files that the tests make.
#[cfg(test)]
pub(crate) mod fixture {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// The byte at `at` of record `record` of file number `file`.
    pub(crate) fn byte(layout: Layout, file: usize, record: usize, at: usize) -> u8 {
        match layout.labels.get(at) {
            Some(label) => ((file + record * (at + 1)) % label.classes) as u8,
            None => (file * 40 + record * 10 + at) as u8,
        }
    }

    /// A directory of well-formed files; class names are `class 0`, ...
    pub(crate) fn write(edition: &Edition) -> TempDir {
        let directory = TempDir::new().unwrap();
        let record = edition.layout.record();
        for (file, part) in edition.train.iter().chain([&edition.test]).enumerate() {
            let bytes: Vec<u8> = (0..part.records * record)
                .map(|offset| byte(edition.layout, file, offset / record, offset % record))
                .collect();
            fs::write(directory.path().join(part.file), bytes).unwrap();
        }
        for (name, label) in edition.names.iter().zip(edition.layout.labels) {
            let names: String =
                (0..label.classes).map(|class| format!("class {class}\n")).collect();
            fs::write(directory.path().join(name), names + "\n").unwrap();
        }
        directory
    }

    /// Loads `edition` after `spoil` changed the bytes of one of its files; `{}` stands for the
    /// file's path in `message`.
    #[track_caller]
    pub(crate) fn refuses(
        edition: &Edition,
        name: &str,
        spoil: impl Fn(&mut Vec<u8>),
        message: &str,
    ) {
        let directory = write(edition);
        let path = directory.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = load(edition, directory.path(), 0).unwrap_err().to_string();
        assert_eq!(error, message.replace("{}", &path.display().to_string()));
    }
}
