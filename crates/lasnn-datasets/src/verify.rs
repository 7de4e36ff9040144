//! Whether a data set is the official one.
//!
//! [`crate::load`] checks that files have the structure that they must have; a pixel that is wrong
//! has that too. Here the images themselves are compared, by a hash over all of them, as far as one
//! is known. Training does not ask for that: small editions and changed ones can be trained on, and
//! a run records the SHA-256 of what it has read.

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config::{DatasetConfig, Source};
use crate::dataset::{Dataset, Images, LoadOptions, cut, whole};
use crate::error::DatasetError;

/// What is known of a data set once all of it was read and nothing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    /// The images and their classes are those of the official edition.
    Official,
    /// The structure is right. No hash is known here that says whether the images are.
    Structure,
    /// The images come with the program, so there is nothing that could differ.
    BuiltIn,
}

/// The hashes of official editions, by [`sha256_of_images`].
///
/// That of CIFAR-10 is of an edition with its images in another order than in the official archive,
/// which is why order does not count. That they are the same images: the sums of their pixels are
/// those of the official ones to the unit, by channel, in training and test images
/// (`tests/cifar10.rs`). The other data sets could not be had where this was written, and a hash
/// that nobody has worked out is worth nothing.
const OFFICIAL: &[(Source, &str)] =
    &[(Source::Cifar10, "ea5f114f703c069b3640091b6bf12c950654b8db31f511e86f9ee312e711e00c")];

/// The same as [`crate::load_with`], but reads every file again, whatever is remembered of it, and
/// compares all images with those of the official edition, if the hash of these is known.
///
/// # Errors
///
/// See [`crate::load_with`]; and gives both hashes if the images are others.
pub fn verify(
    config: &DatasetConfig,
    options: LoadOptions<'_>,
) -> Result<(Dataset, Verified), DatasetError> {
    let mut dataset = whole(config, LoadOptions { again: true, ..options })?;
    let verified = match config.source {
        Source::Digits | Source::Synthetic => Verified::BuiltIn,
        source => match OFFICIAL.iter().find(|(known, _)| *known == source) {
            Some((_, expected)) => compare(&dataset, expected)?,
            None => Verified::Structure,
        },
    };
    cut(config, &mut dataset)?;
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

/// SHA-256 of all images of a data set whatever their order, as 64 hexadecimal digits: over the
/// names of the classes, each with a zero byte behind it; then, first for training and then for
/// testing, over the number of images as 8 bytes and the SHA-256 of each, these sorted. That of an
/// image is over its class as 4 bytes and its pixels. Numbers have their lowest byte first.
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
    format!("{:x}", hash.finalize())
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
    use crate::{FolderConfig, Step, load, load_with};

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
    fn the_order_of_images_does_not_count_and_every_bit_does() {
        let official = sha256_of_images(&dataset(&TRAIN, &TEST));
        let [first, second, third] = TRAIN;
        let turned = dataset(&[third, first, second], &TEST);
        assert_eq!(compare(&turned, &official).unwrap(), Verified::Official);

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
            // So old that loading relies on it.
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
        assert_eq!(hashed.get(), 4, "for training, they are those of last time");
    }

    #[test]
    fn what_is_built_in_is_neither_official_nor_unknown() {
        let config = DatasetConfig { test_limit: Some(5), ..DatasetConfig::new(Source::Digits) };
        let (dataset, verified) = verify(&config, LoadOptions::default()).unwrap();
        assert_eq!((verified, dataset.test.len()), (Verified::BuiltIn, 5));
        assert_eq!(dataset.sha256, load(&config, None).unwrap().sha256);
    }
}
