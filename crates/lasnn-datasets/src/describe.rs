//! A summary of a data set, to read before training on it.

use serde::Serialize;

use crate::dataset::{Dataset, Images};
use crate::moments::Moments;
use crate::split::Split;

/// A data set in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The name of the source.
    pub name: String,
    /// The shape of every image, as `channels x height x width`.
    pub shape: String,
    /// The name of each class.
    pub class_names: Vec<String>,
    /// The SHA-256 of the data set.
    pub sha256: String,
    /// The training images.
    pub train: SplitDescription,
    /// The validation images.
    pub validation: SplitDescription,
    /// The test images.
    pub test: SplitDescription,
}

/// One split of a data set in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitDescription {
    /// The number of images.
    pub images: usize,
    /// The number of images of each class.
    pub class_counts: Vec<usize>,
    /// The moments of each channel; 0 if there is no image.
    pub channels: Moments,
}

/// Counts the images of `dataset` and computes their statistics.
pub fn describe(dataset: &Dataset, split: &Split) -> Description {
    let part = |images: &Images, indices: &[u32]| {
        let mut class_counts = vec![0; dataset.classes];
        for &index in indices {
            class_counts[images.labels[index as usize] as usize] += 1;
        }
        SplitDescription {
            images: indices.len(),
            class_counts,
            channels: Moments::of(images, indices),
        }
    };
    let test: Vec<u32> = (0..dataset.test.len() as u32).collect();
    Description {
        name: dataset.name.clone(),
        shape: dataset.shape.to_string(),
        class_names: dataset.class_names.clone(),
        sha256: dataset.sha256.clone(),
        train: part(&dataset.train, &split.train),
        validation: part(&dataset.train, &split.validation),
        test: part(&dataset.test, &test),
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::Seed;

    use super::*;
    use crate::{DatasetConfig, Source, load, split};

    /// NumPy computed the expected statistics of the training digits.
    #[test]
    fn the_digits_are_described() {
        let config = DatasetConfig { validation: 437, ..DatasetConfig::new(Source::Digits) };
        let dataset = load(&config, None).unwrap();
        let split = split(&dataset, &config, Seed(1)).unwrap();
        let digits = describe(&dataset, &split);
        assert_eq!((digits.name.as_str(), digits.shape.as_str()), ("digits", "1x8x8"));
        let images = [&digits.train, &digits.validation, &digits.test].map(|part| part.images);
        assert_eq!(images, [1000, 437, 360]);
        assert_eq!(digits.test.class_counts, [35, 36, 35, 37, 37, 37, 37, 36, 33, 37]);
        assert!(digits.train.class_counts.iter().all(|&count| (97..=104).contains(&count)));

        let all: Vec<u32> = (0..1437).collect();
        let moments = Moments::of(&dataset.train, &all);
        // Rounding the values 0..16 to bytes changes them by at most half of 1/255.
        assert!((moments.mean[0] - 0.305386).abs() < 1e-3, "{moments:?}");
        assert!((moments.deviation[0] - 0.375507).abs() < 1e-3, "{moments:?}");
    }
}
