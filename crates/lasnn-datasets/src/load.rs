//! Loading the images that a recipe names.

use std::path::Path;
use std::sync::Arc;

use lasnn_core::Seed;

use crate::config::DatasetConfig;
use crate::dataset::{Dataset, Images};
use crate::error::DatasetError;
use crate::source::{LoadOptions, SourceArgs};
use crate::split::stratified;

/// Loads and checks the images that `config` describes. Sources that read files look for them in
/// `data_dir`. This function never downloads anything.
///
/// # Errors
///
/// Names the key of the recipe with an impossible value, or the file that is missing or malformed,
/// with the place in it, the value found and the value expected.
pub fn load(config: &DatasetConfig, data_dir: Option<&Path>) -> Result<Dataset, DatasetError> {
    load_with(config, LoadOptions { data_dir, ..LoadOptions::default() })
}

/// Like [`load`], with more options.
///
/// # Errors
///
/// Fails like [`load`]. Also fails if a file of the cache cannot be written.
pub fn load_with(
    config: &DatasetConfig,
    options: LoadOptions<'_>,
) -> Result<Dataset, DatasetError> {
    let mut dataset = load_all(config, options)?;
    apply_limits(config, &mut dataset)?;
    Ok(dataset)
}

/// Loads all images of the source, without the limits of `config`.
pub(crate) fn load_all(
    config: &DatasetConfig,
    options: LoadOptions<'_>,
) -> Result<Dataset, DatasetError> {
    config.validate()?;
    let dataset = config.source.load(&SourceArgs {
        labels: config.labels.unwrap_or_default(),
        folder: config.folder.as_ref(),
        synthetic: config.synthetic.as_ref(),
        ..SourceArgs::new(options)
    })?;
    tracing::debug!(
        name = dataset.name,
        train = dataset.train.len(),
        test = dataset.test.len(),
        sha256 = dataset.sha256,
        "loaded data set"
    );
    Ok(dataset)
}

/// Checks `config` against the loaded images, and reduces the test images to `test_limit`.
pub(crate) fn apply_limits(
    config: &DatasetConfig,
    dataset: &mut Dataset,
) -> Result<(), DatasetError> {
    let held_out = dataset.validation.as_ref().map(Vec::len);
    config.validate_for(dataset.shape, dataset.train.len(), held_out, dataset.test.len())?;
    match config.test_limit {
        // The first images would all be of the first classes.
        Some(limit) if config.source.is_sorted_by_class() => {
            dataset.test = Arc::new(keep_in_proportion(&dataset.test, limit));
        }
        Some(limit) => Arc::make_mut(&mut dataset.test).truncate(limit),
        None => {}
    }
    Ok(())
}

/// Keeps `limit` images in their order, with every class in proportion. The choice does not depend
/// on the seed of the run.
fn keep_in_proportion(images: &Images, limit: usize) -> Images {
    let mut kept = stratified(&images.labels, Seed(0));
    kept.truncate(limit);
    kept.sort_unstable();
    let kept = kept.into_iter().map(|index| index as usize);
    let pixels: Vec<u8> = kept.clone().flat_map(|index| images.image(index).to_vec()).collect();
    let labels = kept.map(|index| images.labels[index]).collect();
    Images { pixels: pixels.into(), labels, shape: images.shape }
}

#[cfg(test)]
mod tests {
    use lasnn_core::Shape;

    use super::*;
    use crate::sources::Source;

    #[test]
    fn a_limit_keeps_sorted_classes_in_proportion() {
        let labels: Vec<u32> = (0..30).map(|index| index / 10).collect();
        let pixels: Vec<u8> = (0..30).collect();
        let shape = Shape { channels: 1, height: 1, width: 1 };
        let images = Images { pixels: pixels.into(), labels, shape };
        let kept = keep_in_proportion(&images, 6);
        assert_eq!(kept.labels, [0, 0, 1, 1, 2, 2]);
        assert!(kept.pixels.is_sorted());
        assert!(
            kept.pixels.iter().zip(&kept.labels).all(|(pixel, label)| pixel / 10 == *label as u8)
        );
        assert_eq!(keep_in_proportion(&images, 30), images);
    }

    #[test]
    fn the_test_limit_keeps_the_first_images_and_the_hash() {
        let all = load(&DatasetConfig::new(Source::Digits), None).unwrap();
        let config = DatasetConfig { test_limit: Some(7), ..DatasetConfig::new(Source::Digits) };
        let some = load(&config, None).unwrap();
        assert_eq!(some.test.labels, all.test.labels[..7]);
        assert_eq!(some.test.pixels[..], all.test.pixels[..7 * 64]);
        assert_eq!(some.train, all.train);
        assert_eq!(some.sha256, all.sha256);
    }
}
