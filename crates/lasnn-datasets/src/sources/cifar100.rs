//! CIFAR-100 (A. Krizhevsky, 2009) in its official binary version, from a local directory.
//!
//! `train.bin` holds 50,000 and `test.bin` 10,000 records: one byte for one of 20 coarse classes,
//! one for one of 100 fine classes, then the pixels. `coarse_label_names.txt` and
//! `fine_label_names.txt` hold the names.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cifar::{self, Edition, PIXELS, Part};
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::formats::records::{Label, Layout};

/// Which of its two labels is an image's class: the key `labels` of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// One of 100 classes.
    #[default]
    Fine,
    /// One of 20 groups of five classes each.
    Coarse,
}

/// What a record is.
pub const LAYOUT: Layout = Layout {
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

/// Reads and checks all of CIFAR-100: 50,000 training and 10,000 test images.
///
/// The files are looked for in `data_dir/cifar-100-binary` if there is such a folder, else in
/// `data_dir` itself. Both labels of every record are checked, whichever is used. The SHA-256 is
/// that of `cat train.bin test.bin coarse_label_names.txt fine_label_names.txt`, so it is the same
/// for both.
///
/// # Errors
///
/// Names the file that is missing, cannot be read, is too short or too long, is a copy of another
/// or has a class that does not exist, with byte offset, value found and value expected.
pub fn load(data_dir: &Path, labels: Labels) -> Result<Dataset, DatasetError> {
    load_edition(&EDITION, data_dir, labels)
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
            "{}: byte 15371: found the end of the file after 5 whole records and 1 bytes, expected \
             18444 bytes (6 records of 3074)",
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
