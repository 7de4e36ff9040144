//! Generated images of any size, shape and number of classes, for tests and benchmarks.
//!
//! Each class has a smooth pattern: random values on a coarse grid with interpolation between them.
//! An image is the pattern of its class plus noise, so a small network learns to distinguish the
//! classes. The images depend only on the table `synthetic` of the recipe, not on the seed of the
//! run. They are the same bytes on every machine, because only additions, multiplications and
//! divisions compute them.

use std::sync::Arc;

use lasnn_core::random::{Draws, unit};
use lasnn_core::{Seed, Shape, Stream};

use crate::dataset::{Dataset, Images, sha256};
use crate::error::DatasetError;
use crate::options::SyntheticConfig;
use crate::source::{DatasetSource, Reference, SourceArgs};

/// Generated images.
///
/// Image `i` has class `i mod classes`. The SHA-256 of the data set covers the training pixels, the
/// training labels as little-endian 32-bit numbers, and the same of the test images.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic;

impl DatasetSource for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn reference(&self) -> Reference {
        Reference::BuiltIn
    }

    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        Ok(load(&args.synthetic.cloned().unwrap_or_default()))
    }
}

/// Makes the images.
pub(crate) fn load(config: &SyntheticConfig) -> Dataset {
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

/// The number of grid nodes in each direction.
const GRID: usize = 4;

/// The pattern of a class, with values of 64 to 192.
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

/// The grid node before pixel `at` of `size`, and the position between it and the next node.
fn between(at: usize, size: usize) -> (usize, f32) {
    let position = at as f32 * (GRID - 1) as f32 / (size.max(2) - 1) as f32;
    let node = (position as usize).min(GRID - 2);
    (node, position - node as f32)
}

/// Makes `count` images. `part` separates the random numbers of training and test images.
fn images(shape: Shape, patterns: &[Vec<f32>], count: usize, part: u32, seed: Seed) -> Images {
    let labels: Vec<u32> = (0..count).map(|index| (index % patterns.len()) as u32).collect();
    let mut pixels = vec![0; count * shape.len()];
    for (index, image) in pixels.chunks_exact_mut(shape.len()).enumerate() {
        let draws = seed.draws(Stream::Synthetic, [part, index as u32, 0]);
        add_noise(&patterns[labels[index] as usize], draws, image);
    }
    Images { pixels: pixels.into(), labels, shape }
}

/// Adds noise with a standard deviation of 37. The sum of the four bytes of a random number is
/// almost normally distributed. It needs one random number per pixel, and no function that
/// platforms round differently.
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

    /// The nearest mean training image has the right class for almost all test images, but a single
    /// pixel is not enough to recognise it.
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
}
