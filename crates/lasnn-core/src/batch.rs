//! Labelled images in host memory, and where a training loop gets them.

use crate::shape::Shape;

/// Normalised images with their labels, in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The shape of every image.
    pub shape: Shape,
    /// The pixels, `[image, channel, row, column]`.
    pub pixels: Vec<f32>,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The identity of each image within its data set, which keys its random draws.
    pub samples: Vec<u32>,
}

impl Batch {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// A batch of the images in `range`.
    ///
    /// # Panics
    ///
    /// Panics if `range` exceeds the batch.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Batch {
        let size = self.shape.len();
        Batch {
            shape: self.shape,
            pixels: self.pixels[range.start * size..range.end * size].to_vec(),
            labels: self.labels[range.clone()].to_vec(),
            samples: self.samples[range].to_vec(),
        }
    }
}

/// A source of batches for a training loop.
///
/// An implementation must return the same batches, bit for bit, for the same epoch and position,
/// however many threads load them. A resumed run relies on this when it continues in the middle of
/// an epoch.
pub trait BatchSource {
    /// The number of images of an epoch.
    fn len(&self) -> usize;

    /// Whether an epoch has no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of batches of an epoch.
    fn batches(&self) -> usize;

    /// The batches of `epoch`, beginning with batch number `first`.
    fn epoch(&self, epoch: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_>;
}
