//! Images in memory, and how they get there.

use std::path::Path;
use std::sync::Arc;

use lasnn_core::{Seed, Shape};
use sha2::{Digest, Sha256};

use crate::config::{DatasetConfig, Source};
use crate::encoded::Keeping;
use crate::error::DatasetError;
use crate::pixels::Pixels;
use crate::progress::OnProgress;
use crate::sources::{cifar10, cifar100, digits, folder, mnist, synthetic, tiny_imagenet};
use crate::split::stratified;

/// Labelled images, one byte per pixel and channel.
///
/// Bytes, not floats: the whole of CIFAR-10 takes 184 MB so, and 737 MB in `f32`. Data sets that are
/// larger are files mapped into memory, of which the system keeps what it has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The images one after the other, each channel by channel, row by row.
    pub pixels: Pixels,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The shape of every image.
    pub shape: Shape,
}

impl Images {
    /// How many images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one image.
    ///
    /// # Panics
    ///
    /// Panics if there are not more than `index` images.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.len();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count);
        self.pixels.truncate(count.saturating_mul(self.shape.len()));
    }
}

/// A data set: images to train on, images to test on, and what they are.
///
/// The images are shared, since the threads that prepare batches hold them too.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The source's name.
    pub name: String,
    /// The shape of every image.
    pub shape: Shape,
    /// How many classes; labels are below it.
    pub classes: usize,
    /// The name of each class.
    pub class_names: Vec<String>,
    /// All training images, those that [`crate::split()`] will hold out included.
    pub train: Arc<Images>,
    /// Which of the training images the data set itself holds out for validation, ascending; none
    /// where that is left to [`crate::split()`].
    pub validation: Option<Vec<u32>>,
    /// The test images, cut to `test_limit`.
    pub test: Arc<Images>,
    /// SHA-256 of the whole data set, as 64 hexadecimal digits; each source says over which
    /// bytes. Limits and splits do not change it.
    pub sha256: String,
}

/// What is around the loading of a data set.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// Where sources look for their files.
    pub data_dir: Option<&'a Path>,
    /// Where sources of many encoded images keep them decoded, by default the folder `packed` of the
    /// data directory. It is made if need be, what is in it is ours alone, and it may be deleted
    /// whenever no process uses it.
    pub cache_dir: Option<&'a Path>,
    /// Whether sources of many encoded images read every file again, although paths, lengths and times
    /// are those of last time. It is an error then if one has other bytes.
    pub again: bool,
    /// Is told how far it is, where it takes long.
    pub progress: Option<OnProgress<'a>>,
}

/// Gets the images that `config` asks for and checks them. Sources that read files look for them
/// in `data_dir`; nothing is ever downloaded here.
///
/// # Errors
///
/// Names the key of the recipe that cannot be, or the file that is missing or malformed with the
/// byte offset, the value there and what was expected.
pub fn load(config: &DatasetConfig, data_dir: Option<&Path>) -> Result<Dataset, DatasetError> {
    load_with(config, LoadOptions { data_dir, ..LoadOptions::default() })
}

/// The same as [`load`], with more to say about it.
///
/// # Errors
///
/// See [`load`]; and names a file of the cache that cannot be written.
pub fn load_with(
    config: &DatasetConfig,
    options: LoadOptions<'_>,
) -> Result<Dataset, DatasetError> {
    let mut dataset = whole(config, options)?;
    cut(config, &mut dataset)?;
    Ok(dataset)
}

/// Gets all images of the source, whatever the limits of `config` are.
pub(crate) fn whole(
    config: &DatasetConfig,
    options: LoadOptions<'_>,
) -> Result<Dataset, DatasetError> {
    config.validate()?;
    let LoadOptions { data_dir, cache_dir, again, progress } = options;
    let nowhere = || DatasetError::NoDirectory { name: config.source.name() };
    let directory = || data_dir.ok_or_else(nowhere);
    let usual = data_dir.map(|data_dir| data_dir.join("packed"));
    let keeping = || {
        let cache_dir = cache_dir.or(usual.as_deref()).ok_or_else(nowhere)?;
        Ok::<_, DatasetError>(Keeping { cache_dir, again, progress })
    };
    let dataset = match config.source {
        Source::Digits => digits::load(),
        Source::Cifar10 => cifar10::load(directory()?)?,
        Source::Cifar100 => cifar100::load(directory()?, config.labels.unwrap_or_default())?,
        Source::Mnist => mnist::load(&mnist::MNIST, directory()?)?,
        Source::FashionMnist => mnist::load(&mnist::FASHION_MNIST, directory()?)?,
        Source::TinyImagenet => tiny_imagenet::load(directory()?, keeping()?)?,
        Source::Folder => folder::load(config.folder()?, data_dir, keeping()?)?,
        Source::Synthetic => synthetic::load(&config.synthetic.clone().unwrap_or_default()),
    };
    tracing::debug!(
        name = dataset.name,
        train = dataset.train.len(),
        test = dataset.test.len(),
        sha256 = dataset.sha256,
        "loaded data set"
    );
    Ok(dataset)
}

/// Checks what `config` asks for against the images there are, and cuts the test images to its limit.
pub(crate) fn cut(config: &DatasetConfig, dataset: &mut Dataset) -> Result<(), DatasetError> {
    let held_out = dataset.validation.as_ref().map(Vec::len);
    config.validate_for(dataset.shape, dataset.train.len(), held_out, dataset.test.len())?;
    match config.test_limit {
        // The first images of a folder would be those of its first classes.
        Some(limit) if config.source == Source::Folder => {
            dataset.test = Arc::new(keep_in_proportion(&dataset.test, limit));
        }
        Some(limit) => Arc::make_mut(&mut dataset.test).truncate(limit),
        None => {}
    }
    Ok(())
}

/// Keeps `limit` images with each class in proportion, in their order. The choice is always the
/// same.
fn keep_in_proportion(images: &Images, limit: usize) -> Images {
    let mut kept = stratified(&images.labels, Seed(0));
    kept.truncate(limit);
    kept.sort_unstable();
    let kept = kept.into_iter().map(|index| index as usize);
    let pixels: Vec<u8> = kept.clone().flat_map(|index| images.image(index).to_vec()).collect();
    let labels = kept.map(|index| images.labels[index]).collect();
    Images { pixels: pixels.into(), labels, shape: images.shape }
}

/// SHA-256 over `parts` one after the other, in hexadecimal.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = parts.into_iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_gives_the_known_answer() {
        // FIPS 180-2, appendix B.1: the message "abc".
        assert_eq!(
            sha256([&b"a"[..], &b"bc"[..]]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn images_that_are_sorted_by_class_are_cut_class_by_class() {
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
