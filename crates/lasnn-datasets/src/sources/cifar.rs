//! The official binary versions of CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009).
//!
//! They have files of records and text files of class names, one per line. A record has one or two
//! bytes for the classes, then 1,024 bytes each for red, green and blue, row by row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lasnn_core::Shape;

use crate::dataset::{Dataset, Images, sha256};
use crate::error::{DatasetError, Flaw};
use crate::formats::records::Layout;
use crate::formats::text;
use crate::read::{is_folder, read};

pub(crate) const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };
/// The number of bytes of pixels in a record.
pub(crate) const PIXELS: usize = 3 * 32 * 32;
/// Far more bytes than a hundred class names need.
const LONGEST_NAMES: usize = 4096;

/// One of the two data sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edition {
    /// The name of the source.
    pub name: &'static str,
    /// The title in the error about a missing first file.
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

/// Reads and checks all files of `edition`. The classes are those of label number `label`.
///
/// The files are looked for in the folder of the edition below `data_dir` if it exists, else in
/// `data_dir` itself. The SHA-256 is that of the concatenated training files, test file and files
/// of names.
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
        // This file is read first, so a wrong directory leads to this message.
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
        // A copy of another file is well-formed, but it is a mistake.
        if let Some((twin, _)) = files.iter().find(|(_, known)| *known == bytes) {
            let flaw = Flaw::file(format!("the bytes of {}", twin.display()), "other images");
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

/// Small editions for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Byte `at` of record `record` in file number `file`.
    pub(crate) fn byte(layout: Layout, file: usize, record: usize, at: usize) -> u8 {
        match layout.labels.get(at) {
            Some(label) => ((file + record * (at + 1)) % label.classes) as u8,
            None => (file * 40 + record * 10 + at) as u8,
        }
    }

    /// Makes a directory of well-formed files. The class names are `class 0`, `class 1`, ...
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

    /// Checks the error of loading `edition` after `spoil` has changed one of its files. In
    /// `message`, `{}` stands for the path of the file.
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
