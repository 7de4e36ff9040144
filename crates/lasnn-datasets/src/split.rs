//! The split of the training images into those for training and those for validation.

use lasnn_core::{Seed, Stream};

use crate::config::DatasetConfig;
use crate::dataset::{Dataset, Images};
use crate::error::DatasetError;

/// Indices of training images, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The images for training.
    pub train: Vec<u32>,
    /// The images for validation, which select the epoch.
    pub validation: Vec<u32>,
}

/// Holds out `config.validation` images, or those that the data set itself holds out, and keeps
/// `config.train_limit` of the rest.
///
/// Both choices are stratified: each class has its share, to within one image if all classes have
/// the same size, and to within half an image per other class at worst. A smaller limit keeps a
/// subset of the images of a larger one and does not change the validation images.
///
/// # Errors
///
/// Names the key if there are not enough images, or if both the recipe and the data set hold images
/// out.
pub fn split(dataset: &Dataset, config: &DatasetConfig, seed: Seed) -> Result<Split, DatasetError> {
    split_images(&dataset.train, dataset.validation.as_deref(), config, seed)
}

fn split_images(
    images: &Images,
    given: Option<&[u32]>,
    config: &DatasetConfig,
    seed: Seed,
) -> Result<Split, DatasetError> {
    config.validate_counts(images.len(), given.map(<[u32]>::len))?;
    let is_given = |index: &u32| given.is_some_and(|given| given.binary_search(index).is_ok());
    let rest: Vec<u32> = (0..images.len() as u32).filter(|index| !is_given(index)).collect();
    let labels: Vec<u32> = rest.iter().map(|&index| images.labels[index as usize]).collect();
    let order = stratified(&labels, seed).into_iter();
    let mut order: Vec<u32> = order.map(|place| rest[place as usize]).collect();
    let mut train = order.split_off(config.validation);
    let mut validation = given.map_or(order, <[u32]>::to_vec);
    train.truncate(config.train_limit.unwrap_or(usize::MAX));
    train.sort_unstable();
    validation.sort_unstable();
    Ok(Split { train, validation })
}

/// A random order of the images in which every prefix has each class in proportion.
///
/// First, an order of all images is drawn. Then image number `r` of the `n` images of its class
/// gets the sort key `(2 r + 1) / 2 n`; images with equal keys stay in the drawn order.
pub(crate) fn stratified(labels: &[u32], seed: Seed) -> Vec<u32> {
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut sizes = vec![0_u64; classes];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    let mut seen = vec![0_u64; classes];
    let drawn = seed.draws(Stream::Split, [0; 3]).permutation(labels.len());
    let mut placed: Vec<(u64, u64, u32)> = drawn
        .into_iter()
        .map(|index| {
            let label = labels[index as usize] as usize;
            seen[label] += 1;
            (2 * seen[label] - 1, sizes[label], index)
        })
        .collect();
    // Cross-multiplication compares fractions exactly. The sort is stable.
    placed.sort_by(|(a, n, _), (b, m, _)| (a * m).cmp(&(b * n)));
    placed.into_iter().map(|(_, _, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use lasnn_core::Shape;
    use proptest::prelude::*;

    use super::*;
    use crate::sources::Source;

    fn images(labels: Vec<u32>) -> Images {
        let shape = Shape { channels: 1, height: 1, width: 1 };
        Images { pixels: vec![0; labels.len()].into(), labels, shape }
    }

    fn config(validation: usize, train_limit: Option<usize>) -> DatasetConfig {
        DatasetConfig { validation, train_limit, ..DatasetConfig::new(Source::Digits) }
    }

    proptest! {
        #[test]
        fn every_image_is_on_one_side_and_classes_are_in_proportion(
            labels in prop::collection::vec(0_u32..4, 1..200),
            share in 0.0..1.0,
            seed: u32,
        ) {
            let images = images(labels);
            let validation = (share * images.len() as f64) as usize;
            let split = split_images(&images, None, &config(validation, None), Seed(seed)).unwrap();
            prop_assert_eq!(split.validation.len(), validation);
            let mut all = [&split.train[..], &split.validation].concat();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..images.len() as u32));
            for class in 0..4 {
                let of = |index: &&u32| images.labels[**index as usize] == class;
                let held = split.validation.iter().filter(of).count() as f64;
                let size = images.labels.iter().filter(|&&label| label == class).count() as f64;
                // Rounding may cost half an image for each of the three other classes.
                let share = size * validation as f64 / images.len() as f64;
                prop_assert!((held - share).abs() <= 1.5 + 1e-9);
            }
        }
    }

    #[test]
    fn the_seed_decides_and_a_limit_only_takes_away() {
        let images = images((0..1000).map(|index| index % 10).collect());
        let with =
            |limit, seed| split_images(&images, None, &config(100, limit), Seed(seed)).unwrap();
        assert_eq!(with(None, 1), with(None, 1));
        assert_ne!(with(None, 1), with(None, 2));
        assert_ne!(with(None, 1).validation, (0..100).collect::<Vec<u32>>());

        let (all, more, some) = (with(None, 1), with(Some(300), 1), with(Some(200), 1));
        assert_eq!((more.train.len(), some.train.len()), (300, 200));
        assert_eq!(some.validation, all.validation);
        assert!(some.train.iter().all(|index| more.train.binary_search(index).is_ok()));
        assert!(some.train.is_sorted() && some.validation.is_sorted());
        for class in 0..10 {
            let count = |indices: &[u32]| indices.iter().filter(|&&i| i % 10 == class).count();
            assert_eq!((count(&some.train), count(&some.validation)), (20, 10));
        }
    }

    #[test]
    fn images_that_the_data_set_holds_out_are_held_out() {
        let images = images((0..100).map(|index| index % 10).collect());
        let given: Vec<u32> = (70..100).collect();
        let with = |validation, limit| {
            split_images(&images, Some(&given), &config(validation, limit), Seed(1))
        };
        let all = with(0, None).unwrap();
        assert_eq!(all, Split { train: (0..70).collect(), validation: given.clone() });
        let some = with(0, Some(20)).unwrap();
        assert_eq!((some.train.len(), &some.validation), (20, &given));
        for class in 0..10 {
            assert_eq!(some.train.iter().filter(|&&index| index % 10 == class).count(), 2);
        }
        assert_eq!(
            with(5, None).unwrap_err().to_string(),
            "`data.validation` is 5, expected 0 or no such key, since the data set holds 30 images \
             out itself"
        );
        assert_eq!(
            with(0, Some(71)).unwrap_err().to_string(),
            "`data.train_limit` is 71, expected at most the 70 images left after the validation \
             split"
        );
    }

    #[test]
    fn more_than_there_is_cannot_be_held_out() {
        let images = images(vec![0; 5]);
        let error = split_images(&images, None, &config(5, None), Seed(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`data.validation` is 5, expected less than the 5 training images"
        );
    }
}
