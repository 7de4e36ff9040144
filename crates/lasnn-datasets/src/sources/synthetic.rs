//! Made-up images of any size, any shape and any number of classes, for tests and benches.
//!
//! Each class has a smooth pattern (random values on a coarse grid, interpolated between), and an
//! image is the pattern of its class with noise, so a small network learns to tell them apart. The
//! images depend on the table in the recipe alone, not on the run's seed, and are the same bytes
//! on every machine: only additions, multiplications and divisions make them.

use std::sync::Arc;

use lasnn_core::random::{Draws, unit};
use lasnn_core::{Seed, Shape, Stream};
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Images, sha256};
use crate::error::DatasetError;

/// The images to make: the table `synthetic` below `data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// How many classes.
    pub classes: usize,
    /// How many training images.
    pub train: usize,
    /// How many test images.
    pub test: usize,
    /// Another number makes other patterns and other noise.
    pub seed: u32,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { channels: 3, height: 32, width: 32, classes: 10, train: 1000, test: 200, seed: 0 }
    }
}

/// No number is larger, and no more bytes are taken: a slip of a digit in a recipe should be an
/// error, not a machine out of memory.
const LARGEST: usize = 1 << 32;

/// What a class takes beside its pattern, and an image beside its pixels: names and labels, and these
/// once more for the hash.
const BESIDE: u128 = 64;

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

    /// The memory that the images of both splits take, a byte for each pixel, and the patterns of all
    /// classes, a number of 32 bits for each.
    fn bytes(&self) -> u128 {
        let [channels, height, width, classes, train, test] =
            [self.channels, self.height, self.width, self.classes, self.train, self.test]
                .map(|number| number as u128);
        let pixels = channels.saturating_mul(height).saturating_mul(width);
        let patterns = pixels.saturating_mul(4).saturating_add(BESIDE).saturating_mul(classes);
        let images = pixels.saturating_add(BESIDE).saturating_mul(train + test);
        patterns.saturating_add(images)
    }
}

/// Makes the images. Labels go round: image `i` has class `i mod classes`.
///
/// The SHA-256 is over the training pixels, the training labels as little-endian 32-bit numbers,
/// then the same of the test images.
pub fn load(config: &SyntheticConfig) -> Dataset {
    let seed = Seed(config.seed);
    let patterns: Vec<Vec<f32>> =
        (0..config.classes).map(|class| pattern(config.shape(), class, seed)).collect();
    let train = images(config.shape(), &patterns, config.train, 1, seed);
    let test = images(config.shape(), &patterns, config.test, 2, seed);
    let bytes = |images: &Images| -> Vec<u8> {
        images.labels.iter().flat_map(|label| label.to_le_bytes()).collect()
    };
    Dataset {
        name: "synthetic".into(),
        shape: config.shape(),
        classes: config.classes,
        class_names: (0..config.classes).map(|class| class.to_string()).collect(),
        sha256: sha256([&train.pixels[..], &bytes(&train), &test.pixels, &bytes(&test)]),
        validation: None,
        train: Arc::new(train),
        test: Arc::new(test),
    }
}

/// Nodes of the coarse grid in each direction.
const GRID: usize = 4;

/// The values of a class's pattern, 64 to 192.
fn pattern(shape: Shape, class: usize, seed: Seed) -> Vec<f32> {
    let mut values = Vec::with_capacity(shape.len());
    for channel in 0..shape.channels {
        let draws = seed.draws(Stream::Synthetic, [0, class as u32, channel as u32]);
        let mut nodes = [0.0; GRID * GRID];
        draws.fill(&mut nodes, |bits| 64.0 + 128.0 * unit(bits));
        for y in 0..shape.height {
            let (row, down) = between(y, shape.height);
            for x in 0..shape.width {
                let (column, right) = between(x, shape.width);
                let at = |dy, dx| nodes[(row + dy) * GRID + column + dx];
                let above = at(0, 0) * (1.0 - right) + at(0, 1) * right;
                let below = at(1, 0) * (1.0 - right) + at(1, 1) * right;
                values.push(above * (1.0 - down) + below * down);
            }
        }
    }
    values
}

/// The grid node before pixel `at` of `size`, and how far the pixel is on the way to the next.
fn between(at: usize, size: usize) -> (usize, f32) {
    let position = at as f32 * (GRID - 1) as f32 / (size.max(2) - 1) as f32;
    let node = (position as usize).min(GRID - 2);
    (node, position - node as f32)
}

/// `count` images; `part` tells the draws of training and test images apart.
fn images(shape: Shape, patterns: &[Vec<f32>], count: usize, part: u32, seed: Seed) -> Images {
    let labels: Vec<u32> = (0..count).map(|index| (index % patterns.len()) as u32).collect();
    let mut pixels = vec![0; count * shape.len()];
    for (index, image) in pixels.chunks_exact_mut(shape.len()).enumerate() {
        let draws = seed.draws(Stream::Synthetic, [part, index as u32, 0]);
        add_noise(&patterns[labels[index] as usize], draws, image);
    }
    Images { pixels: pixels.into(), labels, shape }
}

/// Adds noise of standard deviation 37: the sum of a draw's four bytes is close to normal, and
/// costs one draw per pixel and no function that platforms round differently.
fn add_noise(pattern: &[f32], draws: Draws, image: &mut [u8]) {
    for ((pixel, value), bits) in image.iter_mut().zip(pattern).zip(draws.iter()) {
        let sum: u32 = bits.to_le_bytes().into_iter().map(u32::from).sum();
        *pixel = (value + (sum as f32 - 510.0) / 4.0).round().clamp(0.0, 255.0) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SyntheticConfig {
        SyntheticConfig { height: 9, width: 5, classes: 4, train: 400, ..Default::default() }
    }

    #[test]
    fn the_images_are_the_same_on_every_machine() {
        assert_eq!(
            load(&config()).sha256,
            "05892782bc3d202f237e13a559b4554e75ac36e106e2c25f38ad4c397ec9250b"
        );
        assert_ne!(load(&config()).sha256, load(&SyntheticConfig { seed: 1, ..config() }).sha256);
    }

    /// The class whose mean training image is nearest is the right one for nearly all test images,
    /// so there is something to learn; a single pixel does not give it away.
    #[test]
    fn the_classes_can_be_learned() {
        let dataset = load(&config());
        let size = dataset.shape.len();
        let mut means = vec![vec![0.0; size]; dataset.classes];
        for (index, &label) in dataset.train.labels.iter().enumerate() {
            for (mean, &pixel) in means[label as usize].iter_mut().zip(dataset.train.image(index)) {
                *mean += f64::from(pixel) / 100.0;
            }
        }
        let accuracy = |pixels: usize| {
            let right = (0..dataset.test.len()).filter(|&index| {
                let distance = |class: &usize| -> f64 {
                    let mean = &means[*class][..pixels];
                    let image = &dataset.test.image(index)[..pixels];
                    mean.iter().zip(image).map(|(m, &p)| (m - f64::from(p)).powi(2)).sum()
                };
                let nearest = (0..dataset.classes)
                    .min_by(|a, b| distance(a).total_cmp(&distance(b)))
                    .unwrap();
                nearest as u32 == dataset.test.labels[index]
            });
            right.count() as f64 / dataset.test.len() as f64
        };
        assert!(accuracy(size) > 0.95, "{}", accuracy(size));
        assert!(accuracy(1) < 0.8, "{}", accuracy(1));
    }

    #[test]
    fn single_pixels_and_single_classes_are_fine() {
        let tiny = SyntheticConfig {
            channels: 1,
            height: 1,
            width: 1,
            classes: 1,
            train: 1,
            test: 1,
            seed: 0,
        };
        let dataset = load(&tiny);
        assert_eq!((dataset.train.pixels.len(), dataset.test.labels.len()), (1, 1));
    }

    #[test]
    fn sizes_without_sense_are_refused() {
        let refuses = |config: SyntheticConfig, message: &str| {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        };
        refuses(
            SyntheticConfig { classes: 0, ..config() },
            "`data.synthetic.classes` is 0, expected 1 to 4294967296",
        );
        refuses(
            SyntheticConfig { train: 1 << 30, ..config() },
            "`data.synthetic` is 1073742024 images and 4 classes of 3x9x5 pixels, 213674665192 bytes, \
             expected at most 4294967296 bytes in all",
        );
    }

    /// What counts is what is allocated: patterns have four bytes for each pixel, and there are two
    /// splits.
    #[test]
    fn the_bound_is_one_of_memory() {
        let large = SyntheticConfig { channels: 1, height: 1 << 14, width: 1 << 14, ..config() };
        let with = |classes, train, test| {
            SyntheticConfig { classes, train, test, ..large.clone() }.validate()
        };
        // A pattern takes a quarter of the room, an image a sixteenth.
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
