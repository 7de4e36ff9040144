//! The keys of the table `[data]` that belong to one source.

use std::path::PathBuf;

use lasnn_core::Shape;
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;

/// Which label of a CIFAR-100 image is its class: the key `labels`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// One of 100 classes.
    #[default]
    Fine,
    /// One of 20 groups of five classes each.
    Coarse,
}

/// A folder of images: the table `folder`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderConfig {
    /// The folder that contains `train` and `test`. A relative path is below the data directory.
    pub path: PathBuf,
    /// The height and width that every image has or is resized to.
    pub size: [usize; 2],
    /// Whether images of another size are resized (without keeping their proportions) or refused.
    #[serde(default)]
    pub resize: bool,
    /// 3 for red, green and blue (equal in a grey image), or 1 for the brightness alone.
    #[serde(default = "coloured")]
    pub channels: usize,
}

fn coloured() -> usize {
    3
}

/// The largest height or width, so that a slip of a digit in a recipe is an error.
const LARGEST_SIDE: usize = 1024;

impl FolderConfig {
    /// The shape of every image.
    pub fn shape(&self) -> Shape {
        let [height, width] = self.size;
        Shape { channels: self.channels, height, width }
    }

    /// The error of a recipe without the table `folder`.
    pub(crate) fn missing() -> DatasetError {
        let expected = "the table with `path` and `size` for the source `folder`";
        DatasetError::config("folder", "missing", expected)
    }

    pub(crate) fn validate(&self) -> Result<(), DatasetError> {
        if self.path.as_os_str().is_empty() {
            let expected = "the folder that has `train` and `test`";
            return Err(DatasetError::config("folder.path", "empty", expected));
        }
        if !self.size.iter().all(|side| (1..=LARGEST_SIDE).contains(side)) {
            let expected = format!("a height and a width of 1 to {LARGEST_SIDE}");
            return Err(DatasetError::config("folder.size", format!("{:?}", self.size), expected));
        }
        if ![1, 3].contains(&self.channels) {
            let expected = "1 for grey or 3 for red, green and blue";
            return Err(DatasetError::config("folder.channels", self.channels, expected));
        }
        Ok(())
    }
}

/// Generated images: the table `synthetic`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// The number of classes.
    pub classes: usize,
    /// The number of training images.
    pub train: usize,
    /// The number of test images.
    pub test: usize,
    /// The seed of the patterns and of the noise.
    pub seed: u32,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { channels: 3, height: 32, width: 32, classes: 10, train: 1000, test: 200, seed: 0 }
    }
}

/// The largest number and the most bytes in all, so that a slip of a digit in a recipe is an error
/// and does not exhaust the memory.
const LARGEST: usize = 1 << 32;

/// Bytes that a class takes beside its pattern, and an image beside its pixels: names, labels, and
/// a copy of the labels for the hash.
const OVERHEAD: u128 = 64;

impl SyntheticConfig {
    /// The shape of every image.
    pub fn shape(&self) -> Shape {
        Shape { channels: self.channels, height: self.height, width: self.width }
    }

    pub(crate) fn validate(&self) -> Result<(), DatasetError> {
        for (key, value) in [
            ("synthetic.channels", self.channels),
            ("synthetic.height", self.height),
            ("synthetic.width", self.width),
            ("synthetic.classes", self.classes),
            ("synthetic.train", self.train),
            ("synthetic.test", self.test),
        ] {
            if !(1..=LARGEST).contains(&value) {
                return Err(DatasetError::config(key, value, format!("1 to {LARGEST}")));
            }
        }
        let bytes = self.bytes();
        if bytes <= LARGEST as u128 {
            return Ok(());
        }
        let images = self.train as u128 + self.test as u128;
        let found = format!(
            "{images} images and {} classes of {} pixels, {bytes} bytes",
            self.classes,
            self.shape()
        );
        Err(DatasetError::config("synthetic", found, format!("at most {LARGEST} bytes in all")))
    }

    /// The memory in bytes of all images (one byte for each pixel) and of the patterns of all
    /// classes (four bytes for each pixel).
    fn bytes(&self) -> u128 {
        let [channels, height, width, classes, train, test] =
            [self.channels, self.height, self.width, self.classes, self.train, self.test]
                .map(|number| number as u128);
        let pixels = channels.saturating_mul(height).saturating_mul(width);
        let patterns = pixels.saturating_mul(4).saturating_add(OVERHEAD).saturating_mul(classes);
        let images = pixels.saturating_add(OVERHEAD).saturating_mul(train + test);
        patterns.saturating_add(images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SyntheticConfig {
        SyntheticConfig { height: 9, width: 5, classes: 4, train: 400, ..Default::default() }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let refuses = |config: SyntheticConfig, message: &str| {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        };
        refuses(
            SyntheticConfig { classes: 0, ..config() },
            "`data.synthetic.classes` is 0, expected 1 to 4294967296",
        );
        refuses(
            SyntheticConfig { train: 1 << 30, ..config() },
            "`data.synthetic` is 1073742024 images and 4 classes of 3x9x5 pixels, 213674665192 \
             bytes, expected at most 4294967296 bytes in all",
        );
    }

    /// The limit is for allocated bytes: patterns take four for each pixel, and there are two
    /// splits.
    #[test]
    fn the_limit_is_for_memory() {
        let large = SyntheticConfig { channels: 1, height: 1 << 14, width: 1 << 14, ..config() };
        let with = |classes, train, test| {
            SyntheticConfig { classes, train, test, ..large.clone() }.validate()
        };
        // A pattern takes a quarter of the limit, an image a sixteenth.
        assert!(with(1, 5, 6).is_ok());
        for (classes, train, test) in [(4, 1, 1), (1, 6, 7), (15, 1, 1), (1, 1, 15)] {
            let error = with(classes, train, test).unwrap_err().to_string();
            assert!(error.contains("expected at most 4294967296 bytes in all"), "{error}");
        }
        let most = LARGEST;
        let all = SyntheticConfig { channels: most, height: most, width: most, ..config() };
        assert!(SyntheticConfig { classes: most, train: most, ..all }.validate().is_err());
    }
}
