//! CIFAR-10 (A. Krizhevsky, 2009) in its official binary version, from a local directory.
//!
//! `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` hold 10,000 records each: one byte
//! for the class, then 1,024 bytes each for red, green and blue, row by row. `batches.meta.txt`
//! holds one class name per line.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lasnn_core::Shape;

use crate::dataset::{Dataset, Images, sha256};
use crate::error::DatasetError;

const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };
const CLASSES: usize = 10;
const RECORD: usize = 1 + 3 * 32 * 32;
const RECORDS_PER_FILE: usize = 10_000;
const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST: &str = "test_batch.bin";
const NAMES: &str = "batches.meta.txt";
/// The first file that is looked for, so a wrong directory is noticed with this hint.
const NAMES_EXPECTED: &str = "the class names of CIFAR-10's binary version, which is looked for in \
    the data directory and in its folder `cifar-10-batches-bin`";
/// Far more than ten class names need.
const LONGEST_NAMES: usize = 4096;
/// The folder that the official archive unpacks to.
const FOLDER: &str = "cifar-10-batches-bin";

/// Reads and checks all of CIFAR-10: 50,000 training and 10,000 test images.
///
/// The files are looked for in `data_dir/cifar-10-batches-bin` if there is such a folder, else in
/// `data_dir` itself. The SHA-256 is that of `cat data_batch_{1,2,3,4,5}.bin test_batch.bin
/// batches.meta.txt`.
///
/// # Errors
///
/// Names the file that is missing, cannot be read, is too short or too long, or has a class that
/// does not exist, with byte offset, value found and value expected.
pub fn load(data_dir: &Path) -> Result<Dataset, DatasetError> {
    load_files(data_dir, RECORDS_PER_FILE)
}

/// Tests have files of fewer records.
fn load_files(data_dir: &Path, records: usize) -> Result<Dataset, DatasetError> {
    let folder = data_dir.join(FOLDER);
    let directory = if folder.is_dir() { folder } else { data_dir.to_owned() };
    let names = read(&directory.join(NAMES), LONGEST_NAMES, NAMES_EXPECTED)?;
    let class_names = class_names(directory.join(NAMES), &names)?;
    let mut files = Vec::with_capacity(TRAIN.len() + 1);
    for name in TRAIN.into_iter().chain([TEST]) {
        files.push(read_records(directory.join(name), records)?);
    }
    let hashed = files.iter().map(Vec::as_slice).chain([names.as_slice()]);
    let sha256 = sha256(hashed);
    let (train, test) = files.split_at(TRAIN.len());
    Ok(Dataset {
        name: "cifar10".into(),
        shape: SHAPE,
        classes: CLASSES,
        class_names,
        train: Arc::new(images(train)),
        test: Arc::new(images(test)),
        sha256,
    })
}

/// Reads a file of exactly `records` records and checks every class in it.
fn read_records(path: PathBuf, records: usize) -> Result<Vec<u8>, DatasetError> {
    let length = records * RECORD;
    let expected = format!("{length} bytes ({records} records of {RECORD})");
    let bytes = read(&path, length, &expected)?;
    if bytes.len() < length {
        let (whole, rest) = (bytes.len() / RECORD, bytes.len() % RECORD);
        let found = format!("the end of the file after {whole} whole records and {rest} bytes");
        return Err(DatasetError::Malformed { path, offset: bytes.len() as u64, found, expected });
    }
    for (record, bytes) in bytes.chunks_exact(RECORD).enumerate() {
        if usize::from(bytes[0]) >= CLASSES {
            return Err(DatasetError::Malformed {
                path,
                offset: (record * RECORD) as u64,
                found: format!("class {} in record {record}", bytes[0]),
                expected: format!("a class of 0 to {}", CLASSES - 1),
            });
        }
    }
    Ok(bytes)
}

/// Reads a file of at most `longest` bytes. One that is longer is refused before its rest is read.
fn read(path: &Path, longest: usize, expected: &str) -> Result<Vec<u8>, DatasetError> {
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => {
            DatasetError::Missing { path: path.to_owned(), expected: expected.to_owned() }
        }
        _ => DatasetError::Unreadable { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity(longest + 1);
    file.take(longest as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > longest {
        return Err(DatasetError::Malformed {
            path: path.to_owned(),
            offset: longest as u64,
            found: format!("byte {}", bytes[longest]),
            expected: format!("the end of the file after at most {longest} bytes"),
        });
    }
    Ok(bytes)
}

/// The class names, one per line; empty lines are skipped, as the official file ends with one.
fn class_names(path: PathBuf, bytes: &[u8]) -> Result<Vec<String>, DatasetError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let offset = error.valid_up_to();
            return Err(DatasetError::Malformed {
                path,
                offset: offset as u64,
                found: format!("byte {}", bytes[offset]),
                expected: "UTF-8 text".into(),
            });
        }
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).collect();
    if names.len() != CLASSES {
        return Err(DatasetError::Malformed {
            path,
            offset: bytes.len() as u64,
            found: format!("the end of the file after {} class names", names.len()),
            expected: format!("{CLASSES} class names, one per line"),
        });
    }
    Ok(names)
}

fn images(files: &[Vec<u8>]) -> Images {
    let records = || files.iter().flat_map(|file| file.chunks_exact(RECORD));
    let mut pixels = Vec::with_capacity(records().count() * SHAPE.len());
    records().for_each(|record| pixels.extend_from_slice(&record[1..]));
    Images { pixels, labels: records().map(|record| u32::from(record[0])).collect(), shape: SHAPE }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const RECORDS: usize = 4;
    const META: &str = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";

    /// The byte at `at` of record `record` of file number `file`.
    fn byte(file: usize, record: usize, at: usize) -> u8 {
        if at == 0 {
            ((file + record) % CLASSES) as u8
        } else {
            (file * 40 + record * 10 + at) as u8
        }
    }

    /// A directory of well-formed files of few records.
    fn fixture() -> TempDir {
        let directory = TempDir::new().unwrap();
        for (file, name) in TRAIN.into_iter().chain([TEST]).enumerate() {
            let bytes: Vec<u8> = (0..RECORDS * RECORD)
                .map(|offset| byte(file, offset / RECORD, offset % RECORD))
                .collect();
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        fs::write(directory.path().join(NAMES), META).unwrap();
        directory
    }

    /// Loads a fixture after `spoil` changed the bytes of one file; `{}` stands for the file's
    /// path in `message`.
    #[track_caller]
    fn refuses(name: &str, spoil: impl Fn(&mut Vec<u8>), message: &str) {
        let directory = fixture();
        let path = directory.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = load_files(directory.path(), RECORDS).unwrap_err().to_string();
        assert_eq!(error, message.replace("{}", &path.display().to_string()));
    }

    #[test]
    fn records_become_images_in_file_order() {
        let dataset = load_files(fixture().path(), RECORDS).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (5 * RECORDS, RECORDS));
        assert_eq!(dataset.class_names.concat(), "abcdefghij");
        for (index, &label) in dataset.train.labels.iter().enumerate() {
            let (file, record) = (index / RECORDS, index % RECORDS);
            assert_eq!(label, u32::from(byte(file, record, 0)));
            let image = dataset.train.image(index);
            assert_eq!(image.len(), SHAPE.len());
            assert!(image.iter().enumerate().all(|(at, &v)| v == byte(file, record, at + 1)));
        }
        assert_eq!(dataset.test.labels[1], u32::from(byte(5, 1, 0)));
        assert_eq!(dataset.test.image(1)[7], byte(5, 1, 8));
    }

    #[test]
    fn the_hash_is_that_of_all_files_in_order() {
        let fixture = fixture();
        let files: Vec<u8> = TRAIN
            .into_iter()
            .chain([TEST, NAMES])
            .flat_map(|name| fs::read(fixture.path().join(name)).unwrap())
            .collect();
        let dataset = load_files(fixture.path(), RECORDS).unwrap();
        assert_eq!(dataset.sha256, sha256([files.as_slice()]));
    }

    #[test]
    fn the_official_folder_is_found_below_the_data_directory() {
        let fixture = fixture();
        let above = TempDir::new().unwrap();
        fs::create_dir(above.path().join(FOLDER)).unwrap();
        for entry in fs::read_dir(fixture.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), above.path().join(FOLDER).join(entry.file_name())).unwrap();
        }
        let below = load_files(above.path(), RECORDS).unwrap();
        assert_eq!(below.sha256, load_files(fixture.path(), RECORDS).unwrap().sha256);
    }

    #[test]
    fn every_byte_counts_in_the_hash() {
        let fixture = fixture();
        let before = load_files(fixture.path(), RECORDS).unwrap().sha256;
        for name in [TRAIN[4], TEST, NAMES] {
            let path = fixture.path().join(name);
            let whole = fs::read(&path).unwrap();
            let mut changed = whole.clone();
            changed[0] ^= 1;
            fs::write(&path, changed).unwrap();
            assert_ne!(load_files(fixture.path(), RECORDS).unwrap().sha256, before, "{name}");
            fs::write(&path, whole).unwrap();
        }
        assert_eq!(load_files(fixture.path(), RECORDS).unwrap().sha256, before);
    }

    #[test]
    fn a_file_that_ends_early_is_refused() {
        refuses(
            TRAIN[2],
            |bytes| bytes.truncate(2 * RECORD + 100),
            "{}: byte 6246: found the end of the file after 2 whole records and 100 bytes, \
             expected 12292 bytes (4 records of 3073)",
        );
        refuses(
            TEST,
            |bytes| bytes.truncate(3 * RECORD),
            "{}: byte 9219: found the end of the file after 3 whole records and 0 bytes, \
             expected 12292 bytes (4 records of 3073)",
        );
    }

    #[test]
    fn a_file_that_goes_on_is_refused() {
        refuses(
            TRAIN[0],
            |bytes| bytes.push(77),
            "{}: byte 12292: found byte 77, expected the end of the file after at most 12292 bytes",
        );
    }

    #[test]
    fn a_class_that_does_not_exist_is_refused() {
        refuses(
            TRAIN[3],
            |bytes| bytes[3 * RECORD] = 10,
            "{}: byte 9219: found class 10 in record 3, expected a class of 0 to 9",
        );
    }

    #[test]
    fn class_names_must_be_ten_lines_of_text() {
        refuses(
            NAMES,
            |bytes| bytes.truncate(4),
            "{}: byte 4: found the end of the file after 2 class names, expected 10 class names, \
             one per line",
        );
        refuses(NAMES, |bytes| bytes[6] = 0xFF, "{}: byte 6: found byte 255, expected UTF-8 text");
        refuses(
            NAMES,
            |bytes| bytes.resize(5000, b'x'),
            "{}: byte 4096: found byte 120, expected the end of the file after at most 4096 bytes",
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        for name in [TRAIN[1], TEST, NAMES] {
            let directory = fixture();
            let path = directory.path().join(name);
            fs::remove_file(&path).unwrap();
            let error = load_files(directory.path(), RECORDS).unwrap_err();
            assert!(matches!(&error, DatasetError::Missing { path: p, .. } if *p == path));
            assert!(error.to_string().contains("does not exist, expected"), "{error}");
            assert_eq!(error.to_string().contains(FOLDER), name == NAMES, "{error}");
        }
    }

    #[test]
    fn a_directory_in_place_of_a_file_is_an_error() {
        let directory = fixture();
        let path = directory.path().join(TEST);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = load_files(directory.path(), RECORDS).unwrap_err();
        assert!(
            matches!(&error, DatasetError::Unreadable { path: p, .. } if *p == path),
            "{error}"
        );
    }
}
