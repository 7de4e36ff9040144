//! The embedded handwritten digits: UCI's Optical Recognition of Handwritten Digits (E. Alpaydin
//! and C. Kaynak, CC BY 4.0), in the copy that scikit-learn ships. `data/README.md` says more.

use std::sync::Arc;

use lasnn_core::Shape;

use crate::dataset::{Dataset, Images, sha256};
use crate::error::DatasetError;
use crate::source::{DatasetSource, Reference, SourceArgs};

/// For each image one byte for the digit, then its 64 pixels row by row.
static RECORDS: &[u8] = include_bytes!("../../data/digits.bin");

const SHAPE: Shape = Shape { channels: 1, height: 8, width: 8 };
const CLASSES: usize = 10;

/// The number of test images: the last ones of the file. The others are for training.
///
/// Images of one writer seem to be neighbours, so most test images should come from writers who are
/// not in the training set; `data/README.md` has the evidence. The file does not name the writers,
/// and one writer may be on both sides of the border.
const TEST: usize = 360;

/// The digits: 1,437 training and 360 test images, 1x8x8, 10 classes.
///
/// The SHA-256 of the data set is that of the file `data/digits.bin`.
#[derive(Clone, Copy, Debug)]
pub struct Digits;

impl DatasetSource for Digits {
    fn name(&self) -> &'static str {
        "digits"
    }

    fn reference(&self) -> Reference {
        Reference::BuiltIn
    }

    fn load(&self, _args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        Ok(digits())
    }
}

fn digits() -> Dataset {
    let record = 1 + SHAPE.len();
    let (train, test) = RECORDS.split_at(RECORDS.len() - TEST * record);
    let pixels = |records: &[u8]| -> Vec<u8> {
        records.chunks_exact(record).flat_map(|record| &record[1..]).copied().collect()
    };
    let images = |records: &[u8]| Images {
        pixels: pixels(records).into(),
        labels: records.chunks_exact(record).map(|record| u32::from(record[0])).collect(),
        shape: SHAPE,
    };
    Dataset {
        name: "digits".into(),
        shape: SHAPE,
        classes: CLASSES,
        class_names: (0..CLASSES).map(|digit| digit.to_string()).collect(),
        validation: None,
        train: Arc::new(images(train)),
        test: Arc::new(images(test)),
        sha256: sha256([RECORDS]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts and pixels as scikit-learn 1.9.1 prints them; pixels there are 0..16.
    #[test]
    fn the_digits_are_those_of_scikit_learn() {
        let digits = digits();
        assert_eq!((digits.train.len(), digits.test.len()), (1437, 360));
        let mut counts = [0; CLASSES];
        for images in [&digits.train, &digits.test] {
            images.labels.iter().for_each(|&label| counts[label as usize] += 1);
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(digits.train.labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(digits.test.labels[..10], [2, 3, 4, 5, 6, 7, 8, 9, 0, 9]);
        let scaled = |row: [f64; 8]| row.map(|value| (value * 255.0 / 16.0).round() as u8);
        assert_eq!(digits.train.image(0)[..8], scaled([0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]));
        let first = scaled([0.0, 4.0, 16.0, 15.0, 2.0, 0.0, 0.0, 0.0]);
        assert_eq!(digits.test.image(0)[..8], first);
    }

    #[test]
    fn the_hash_is_the_one_in_the_readme() {
        assert!(include_str!("../../data/README.md").contains(&digits().sha256));
    }
}
