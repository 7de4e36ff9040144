//! Data sets in memory.

use std::sync::Arc;

use lasnn_core::Shape;
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::pixels::Pixels;

/// Labelled images, one byte per pixel and channel.
///
/// Bytes are smaller than floats: CIFAR-10 takes 184 MB in bytes and 737 MB in `f32`. Larger data
/// sets are files that are mapped into memory, so the system can drop parts of them.
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
    /// The number of images.
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
    /// Panics if `index` is not below the number of images.
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

/// A data set: training and test images and their classes.
///
/// The images are shared with the threads that prepare batches.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The name of the source.
    pub name: String,
    /// The shape of every image.
    pub shape: Shape,
    /// The number of classes; every label is smaller.
    pub classes: usize,
    /// The name of each class.
    pub class_names: Vec<String>,
    /// All training images, including those that [`crate::split()`] holds out.
    pub train: Arc<Images>,
    /// The training images that the data set itself holds out for validation, in ascending order.
    /// `None` if [`crate::split()`] chooses them.
    pub validation: Option<Vec<u32>>,
    /// The test images, cut to `test_limit`.
    pub test: Arc<Images>,
    /// The SHA-256 of the data set in 64 hexadecimal digits. The documentation of each source says
    /// which bytes it covers. Limits and splits do not change it.
    pub sha256: String,
}

/// The SHA-256 of the concatenated `parts` in hexadecimal digits.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = parts.into_iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
    hex(&hash.finalize())
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
}
