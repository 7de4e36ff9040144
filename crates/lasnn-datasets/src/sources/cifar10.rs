//! CIFAR-10 (A. Krizhevsky, 2009) in its official binary version, from a local directory.
//!
//! `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` hold 10,000 records each: one byte
//! for the class, then the pixels. `batches.meta.txt` holds the ten class names.

use super::cifar::{self, Edition, PIXELS, Part};
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::formats::records::{Label, Layout};
use crate::moments::Moments;
use crate::remote::{Checksum, Content, Download, Packing, RemoteFiles};
use crate::source::{DatasetSource, Reference, SourceArgs};

const RECORDS_PER_FILE: usize = 10_000;
const FILE_BYTES: u64 = 10_000 * 3073;

/// The layout of a record.
const LAYOUT: Layout = Layout { labels: &[Label { name: "class", classes: 10 }], pixels: PIXELS };

const EDITION: Edition = Edition {
    name: "cifar10",
    title: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    train: &[
        Part { file: "data_batch_1.bin", records: RECORDS_PER_FILE },
        Part { file: "data_batch_2.bin", records: RECORDS_PER_FILE },
        Part { file: "data_batch_3.bin", records: RECORDS_PER_FILE },
        Part { file: "data_batch_4.bin", records: RECORDS_PER_FILE },
        Part { file: "data_batch_5.bin", records: RECORDS_PER_FILE },
    ],
    test: Part { file: "test_batch.bin", records: RECORDS_PER_FILE },
    layout: LAYOUT,
    names: &["batches.meta.txt"],
};

/// From <https://www.cs.toronto.edu/~kriz/cifar.html>, the binary version.
const REMOTE: RemoteFiles<'static> = RemoteFiles {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    base: "https://www.cs.toronto.edu/~kriz/",
    downloads: &[Download {
        file: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        checksum: Checksum::Sha256(
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        packing: Packing::TarGz,
    }],
    contents: &[
        Content::sized("data_batch_1.bin", FILE_BYTES),
        Content::sized("data_batch_2.bin", FILE_BYTES),
        Content::sized("data_batch_3.bin", FILE_BYTES),
        Content::sized("data_batch_4.bin", FILE_BYTES),
        Content::sized("data_batch_5.bin", FILE_BYTES),
        Content::sized("test_batch.bin", FILE_BYTES),
        Content::new("batches.meta.txt"),
    ],
    unpacked_bytes: 6 * FILE_BYTES + (1 << 20),
};

/// CIFAR-10: 50,000 training and 10,000 test images, 3x32x32, 10 classes.
///
/// The files are looked for in the folder `cifar-10-batches-bin` of the data directory if it
/// exists, else in the data directory itself. The SHA-256 of the data set is that of `cat
/// data_batch_{1,2,3,4,5}.bin test_batch.bin batches.meta.txt`.
#[derive(Clone, Copy, Debug)]
pub struct Cifar10;

impl DatasetSource for Cifar10 {
    fn name(&self) -> &'static str {
        EDITION.name
    }

    /// As in K. Jordan's airbench.
    fn published(&self) -> Option<Moments> {
        Some(Moments::new(&[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]))
    }

    fn remote(&self) -> Option<&'static RemoteFiles<'static>> {
        Some(&REMOTE)
    }

    /// The hash was made from an edition whose images are in another order than in the official
    /// archive, which does not change it. They are the same images: the sums of their pixels are
    /// exactly those of the official ones, in each channel of the training and the test images
    /// (`tests/cifar10.rs`).
    fn reference(&self) -> Reference {
        Reference::Sha256("ea5f114f703c069b3640091b6bf12c950654b8db31f511e86f9ee312e711e00c")
    }

    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        cifar::load(&EDITION, args.data_dir(self.name())?, 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::super::cifar::{SHAPE, fixture};
    use super::*;
    use crate::dataset::sha256;

    const RECORDS: usize = 4;
    const RECORD: usize = 1 + PIXELS;
    const TRAIN: [&str; 5] = [
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ];
    const TEST: &str = "test_batch.bin";
    const NAMES: &str = "batches.meta.txt";
    const FOLDER: &str = EDITION.folder;

    /// An edition with few records.
    const SMALL: Edition = Edition {
        train: &[
            Part { file: TRAIN[0], records: RECORDS },
            Part { file: TRAIN[1], records: RECORDS },
            Part { file: TRAIN[2], records: RECORDS },
            Part { file: TRAIN[3], records: RECORDS },
            Part { file: TRAIN[4], records: RECORDS },
        ],
        test: Part { file: TEST, records: RECORDS },
        ..EDITION
    };

    fn fixture() -> TempDir {
        fixture::write(&SMALL)
    }

    fn byte(file: usize, record: usize, at: usize) -> u8 {
        fixture::byte(LAYOUT, file, record, at)
    }

    fn load_small(directory: &Path) -> Result<Dataset, DatasetError> {
        cifar::load(&SMALL, directory, 0)
    }

    #[track_caller]
    fn refuses(name: &str, spoil: impl Fn(&mut Vec<u8>), message: &str) {
        fixture::refuses(&SMALL, name, spoil, message);
    }

    #[test]
    fn records_become_images_in_file_order() {
        let dataset = load_small(fixture().path()).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (5 * RECORDS, RECORDS));
        assert_eq!(dataset.class_names[..2], ["class 0", "class 1"]);
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
        let dataset = load_small(fixture.path()).unwrap();
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
        let below = load_small(above.path()).unwrap();
        assert_eq!(below.sha256, load_small(fixture.path()).unwrap().sha256);
    }

    #[test]
    fn every_byte_counts_in_the_hash() {
        let fixture = fixture();
        let before = load_small(fixture.path()).unwrap().sha256;
        for name in [TRAIN[4], TEST, NAMES] {
            let path = fixture.path().join(name);
            let complete = fs::read(&path).unwrap();
            let mut changed = complete.clone();
            changed[0] ^= 1;
            fs::write(&path, changed).unwrap();
            assert_ne!(load_small(fixture.path()).unwrap().sha256, before, "{name}");
            fs::write(&path, complete).unwrap();
        }
        assert_eq!(load_small(fixture.path()).unwrap().sha256, before);
    }

    #[test]
    fn a_file_that_ends_early_is_refused() {
        refuses(
            TRAIN[2],
            |bytes| bytes.truncate(2 * RECORD + 100),
            "{}: byte 6246: found the end of the file after 2 complete records and 100 bytes, \
             expected 12292 bytes (4 records of 3073)",
        );
        refuses(
            TEST,
            |bytes| bytes.truncate(3 * RECORD),
            "{}: byte 9219: found the end of the file after 3 complete records and 0 bytes, \
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
    fn a_copy_of_another_file_is_refused() {
        let directory = fixture();
        let [first, copy] = [TRAIN[1], TEST].map(|name| directory.path().join(name));
        fs::copy(&first, &copy).unwrap();
        assert_eq!(
            load_small(directory.path()).unwrap_err().to_string(),
            format!(
                "{}: found the bytes of {}, expected other images",
                copy.display(),
                first.display()
            )
        );
    }

    #[test]
    fn class_names_must_be_ten_lines_of_text() {
        refuses(
            NAMES,
            |bytes| bytes.truncate(16),
            "{}: byte 16: found the end of the file after 2 class names, expected 10 class names, \
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
            let error = load_small(directory.path()).unwrap_err();
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
        let error = load_small(directory.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{}: found a folder, expected a file", path.display()));
    }
}
