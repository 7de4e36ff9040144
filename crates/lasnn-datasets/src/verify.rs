//! Whether a data set is the official one.
//!
//! [`crate::load()`] checks the structure of the files, which a wrong pixel does not change. Here
//! the images themselves are compared with the official ones, by a hash, if it is known. Training
//! does not need that: smaller or changed editions can be trained on, and a run records the SHA-256
//! of the files that it has read.

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config::DatasetConfig;
use crate::dataset::{Dataset, Images};
use crate::error::DatasetError;
use crate::hex::hex;
use crate::load::{apply_limits, load_all};
use crate::source::{LoadOptions, Reference};

/// The result of verifying a data set that has no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    /// The images and classes are those of the official edition.
    Official,
    /// The structure is right. Whether the images are the official ones is unknown, for lack of a
    /// hash.
    Structure,
    /// The images come with the program, so they cannot differ.
    BuiltIn,
}

/// Like [`crate::load_with`], but reads every file again, and compares all images with those of the
/// official edition if their hash is known.
///
/// # Errors
///
/// Fails like [`crate::load_with`]. If the images differ, the error has both hashes.
pub fn verify(
    config: &DatasetConfig,
    options: LoadOptions<'_>,
) -> Result<(Dataset, Verified), DatasetError> {
    let mut dataset = load_all(config, LoadOptions { again: true, ..options })?;
    let verified = match config.source.reference() {
        Reference::BuiltIn => Verified::BuiltIn,
        Reference::Sha256(expected) => compare(&dataset, expected)?,
        Reference::Unknown => Verified::Structure,
    };
    apply_limits(config, &mut dataset)?;
    Ok((dataset, verified))
}

fn compare(dataset: &Dataset, expected: &str) -> Result<Verified, DatasetError> {
    let found = sha256_of_images(dataset);
    if found == expected {
        return Ok(Verified::Official);
    }
    let (name, expected) = (dataset.name.clone(), expected.to_owned());
    Err(DatasetError::NotOfficial { name, found, expected })
}

/// The SHA-256 of all images of a data set in 64 hexadecimal digits, independent of their order.
///
/// It covers the names of the classes, each followed by a zero byte. Then it covers, for the
/// training images and after that for the test images, their number in 8 bytes and the sorted
/// SHA-256 of each image. The SHA-256 of an image covers its class in 4 bytes and its pixels.
/// Numbers are little-endian.
pub fn sha256_of_images(dataset: &Dataset) -> String {
    let mut hash = Sha256::new();
    for name in &dataset.class_names {
        hash.update(name.as_bytes());
        hash.update([0]);
    }
    for images in [&dataset.train, &dataset.test] {
        let mut each: Vec<[u8; 32]> =
            (0..images.len()).into_par_iter().map(|index| of_image(images, index)).collect();
        each.par_sort_unstable();
        hash.update((each.len() as u64).to_le_bytes());
        each.iter().for_each(|one| hash.update(one));
    }
    hex(&hash.finalize())
}

fn of_image(images: &Images, index: usize) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(images.labels[index].to_le_bytes());
    hash.chain_update(images.image(index)).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use lasnn_core::Shape;

    use super::*;
    use crate::encoded::fixture::{encoded, write};
    use crate::{FolderConfig, Source, Step, load, load_with};

    const SHAPE: Shape = Shape { channels: 1, height: 1, width: 2 };

    fn images(all: &[(u32, [u8; 2])]) -> Arc<Images> {
        let pixels: Vec<u8> = all.iter().flat_map(|(_, pixels)| *pixels).collect();
        let labels = all.iter().map(|(label, _)| *label).collect();
        Arc::new(Images { pixels: pixels.into(), labels, shape: SHAPE })
    }

    fn dataset(train: &[(u32, [u8; 2])], test: &[(u32, [u8; 2])]) -> Dataset {
        Dataset {
            name: "small".into(),
            shape: SHAPE,
            classes: 2,
            class_names: vec!["cat".into(), "dog".into()],
            train: images(train),
            validation: None,
            test: images(test),
            sha256: String::new(),
        }
    }

    const TRAIN: [(u32, [u8; 2]); 3] = [(0, [1, 2]), (1, [3, 4]), (1, [5, 6])];
    const TEST: [(u32, [u8; 2]); 1] = [(0, [7, 8])];

    #[test]
    fn the_hash_ignores_the_order_and_covers_every_bit() {
        let official = sha256_of_images(&dataset(&TRAIN, &TEST));
        let [first, second, third] = TRAIN;
        let reordered = dataset(&[third, first, second], &TEST);
        assert_eq!(compare(&reordered, &official).unwrap(), Verified::Official);

        let flipped = (third.0, [third.1[0] ^ 1, third.1[1]]);
        let other_class = (1 - third.0, third.1);
        let mut renamed = dataset(&TRAIN, &TEST);
        renamed.class_names[1] = "Dog".into();
        for other in [
            dataset(&[first, second, flipped], &TEST),
            dataset(&[first, second, other_class], &TEST),
            dataset(&[first, second], &TEST),
            dataset(&[first, second, third, third], &TEST),
            dataset(&[first, second, TEST[0]], &[third]),
            renamed,
        ] {
            let error = compare(&other, &official).unwrap_err().to_string();
            let found = sha256_of_images(&other);
            assert_ne!(found, official);
            assert_eq!(
                error,
                format!(
                    "data set `small` is well-formed, but the SHA-256 of its images is {found}, \
                     expected {official}, as in the official edition"
                )
            );
        }
    }

    #[test]
    fn every_file_is_read_each_time() {
        let directory = tempfile::TempDir::new().unwrap();
        for split in ["train", "test"] {
            let name = format!("images/{split}/a/1.png");
            write(directory.path(), &name, encoded(&name, 2, 2, 9));
            // The file must be so old that its fingerprint counts.
            let file = File::options().write(true).open(directory.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
        }
        let folder =
            FolderConfig { path: "images".into(), size: [2, 2], resize: false, channels: 3 };
        let config = DatasetConfig { folder: Some(folder), ..DatasetConfig::new(Source::Folder) };
        let hashed = Cell::new(0);
        let count = |at: crate::Progress| {
            if at.step == Step::Hashing {
                hashed.set(hashed.get() + at.total);
            }
            ControlFlow::Continue(())
        };
        let options = LoadOptions {
            data_dir: Some(directory.path()),
            progress: Some(&count),
            ..LoadOptions::default()
        };
        for expected in [2, 4] {
            let (dataset, verified) = verify(&config, options).unwrap();
            assert_eq!((verified, dataset.train.len()), (Verified::Structure, 1));
            assert_eq!(hashed.get(), expected);
        }
        load_with(&config, options).unwrap();
        assert_eq!(hashed.get(), 4, "loading for training reads no unchanged file");
    }

    #[test]
    fn built_in_images_are_neither_official_nor_unknown() {
        let config = DatasetConfig { test_limit: Some(5), ..DatasetConfig::new(Source::Digits) };
        let (dataset, verified) = verify(&config, LoadOptions::default()).unwrap();
        assert_eq!((verified, dataset.test.len()), (Verified::BuiltIn, 5));
        assert_eq!(dataset.sha256, load(&config, None).unwrap().sha256);
    }
}
