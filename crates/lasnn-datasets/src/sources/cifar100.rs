//! CIFAR-100 (A. Krizhevsky, 2009) in its official binary version, from a local directory.
//!
//! `train.bin` holds 50,000 and `test.bin` 10,000 records: one byte for one of 20 coarse classes,
//! one byte for one of 100 fine classes, then the pixels. `coarse_label_names.txt` and
//! `fine_label_names.txt` hold the class names.

use std::path::Path;

use super::cifar::{self, Edition, PIXELS, Part};
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::formats::records::{Label, Layout};
use crate::moments::Moments;
use crate::options::Labels;
use crate::remote::{Checksum, Content, Download, Packing, RemoteFiles};
use crate::source::{DatasetSource, SourceArgs};

const RECORD_BYTES: u64 = 3074;

/// The layout of a record.
const LAYOUT: Layout = Layout {
    labels: &[
        Label { name: "coarse class", classes: 20 },
        Label { name: "fine class", classes: 100 },
    ],
    pixels: PIXELS,
};

const EDITION: Edition = Edition {
    name: "cifar100",
    title: "CIFAR-100",
    folder: "cifar-100-binary",
    train: &[Part { file: "train.bin", records: 50_000 }],
    test: Part { file: "test.bin", records: 10_000 },
    layout: LAYOUT,
    names: &["coarse_label_names.txt", "fine_label_names.txt"],
};

/// From <https://www.cs.toronto.edu/~kriz/cifar.html>, the binary version.
const REMOTE: RemoteFiles<'static> = RemoteFiles {
    name: "cifar100",
    folder: "cifar-100-binary",
    base: "https://www.cs.toronto.edu/~kriz/",
    downloads: &[Download {
        file: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        checksum: Checksum::Sha256(
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
        packing: Packing::TarGz,
    }],
    contents: &[
        Content::sized("train.bin", 50_000 * RECORD_BYTES),
        Content::sized("test.bin", 10_000 * RECORD_BYTES),
        Content::new("fine_label_names.txt"),
        Content::new("coarse_label_names.txt"),
    ],
    unpacked_bytes: 60_000 * RECORD_BYTES + (1 << 20),
};

/// CIFAR-100: 50,000 training and 10,000 test images, 3x32x32, 100 fine or 20 coarse classes.
///
/// The files are looked for in the folder `cifar-100-binary` of the data directory if it exists,
/// else in the data directory itself. Both labels of every record are checked, whichever is used.
/// The SHA-256 of the data set is that of `cat train.bin test.bin coarse_label_names.txt
/// fine_label_names.txt`, so it does not depend on the labels.
#[derive(Clone, Copy, Debug)]
pub struct Cifar100;

impl DatasetSource for Cifar100 {
    fn name(&self) -> &'static str {
        EDITION.name
    }

    /// As in weiaicunzai's pytorch-cifar100.
    fn published(&self) -> Option<Moments> {
        Some(Moments::new(&[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762]))
    }

    fn remote(&self) -> Option<&'static RemoteFiles<'static>> {
        Some(&REMOTE)
    }

    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        load_edition(&EDITION, args.data_dir(self.name())?, args.labels)
    }
}

fn load_edition(
    edition: &Edition,
    data_dir: &Path,
    labels: Labels,
) -> Result<Dataset, DatasetError> {
    let label = match labels {
        Labels::Coarse => 0,
        Labels::Fine => 1,
    };
    cifar::load(edition, data_dir, label)
}

#[cfg(test)]
mod tests {
    use super::super::cifar::fixture::{byte, refuses, write};
    use super::*;

    /// The same of few records.
    const SMALL: Edition = Edition {
        train: &[Part { file: "train.bin", records: 6 }],
        test: Part { file: "test.bin", records: 3 },
        ..EDITION
    };
    const RECORD: usize = 2 + PIXELS;

    #[test]
    fn each_label_has_classes_and_names_of_its_own() {
        let directory = write(&SMALL);
        let load = |labels| load_edition(&SMALL, directory.path(), labels).unwrap();
        let (fine, coarse) = (load(Labels::Fine), load(Labels::Coarse));
        assert_eq!((fine.classes, coarse.classes), (100, 20));
        assert_eq!((fine.class_names.len(), coarse.class_names.len()), (100, 20));
        assert_eq!((fine.train.len(), fine.test.len()), (6, 3));
        for record in 0..6 {
            assert_eq!(coarse.train.labels[record], u32::from(byte(LAYOUT, 0, record, 0)));
            assert_eq!(fine.train.labels[record], u32::from(byte(LAYOUT, 0, record, 1)));
            let pixels = fine.train.image(record);
            assert!(pixels.iter().zip(2..).all(|(&p, at)| p == byte(LAYOUT, 0, record, at)));
        }
        assert_ne!(fine.train.labels, coarse.train.labels);
        assert_eq!(fine.train.pixels, coarse.train.pixels);
        assert_eq!(fine.test.pixels, coarse.test.pixels);
        assert_eq!(fine.sha256, coarse.sha256);
    }

    #[test]
    fn both_labels_of_every_record_are_checked() {
        refuses(
            &SMALL,
            "train.bin",
            |bytes| bytes[4 * RECORD] = 20,
            "{}: byte 12296: found coarse class 20 in record 4, expected a coarse class of 0 to 19",
        );
        refuses(
            &SMALL,
            "test.bin",
            |bytes| bytes[2 * RECORD + 1] = 100,
            "{}: byte 6149: found fine class 100 in record 2, expected a fine class of 0 to 99",
        );
    }

    #[test]
    fn files_of_another_length_are_refused() {
        refuses(
            &SMALL,
            "train.bin",
            |bytes| bytes.truncate(5 * RECORD + 1),
            "{}: byte 15371: found the end of the file after 5 complete records and 1 bytes, \
             expected 18444 bytes (6 records of 3074)",
        );
        refuses(
            &SMALL,
            "test.bin",
            |bytes| bytes.push(7),
            "{}: byte 9222: found byte 7, expected the end of the file after at most 9222 bytes",
        );
        refuses(
            &SMALL,
            "fine_label_names.txt",
            |bytes| bytes.extend(b"one more"),
            "{}: line 102: found `one more`, expected the end of the file after 100 class names",
        );
    }
}
