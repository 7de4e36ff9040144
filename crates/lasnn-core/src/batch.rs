//! Labelled images on their way from a data set to a network.

use crate::shape::Shape;

/// Normalised images with their labels, in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The shape of every image.
    pub shape: Shape,
    /// The images one after the other, each channel by channel, row by row.
    pub pixels: Vec<f32>,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The identity of each image within its data set; keys its random draws.
    pub samples: Vec<u32>,
}

impl Batch {
    /// How many images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images `range` as a batch of their own.
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

/// Where a training loop gets its batches from.
///
/// The same source, epoch and position give the same batches, bit for bit, whatever threads fetch
/// them; a resumed run asks for the rest of its epoch.
pub trait BatchSource {
    /// How many images an epoch has.
    fn len(&self) -> usize;

    /// Whether an epoch has no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many batches an epoch has.
    fn batches(&self) -> usize;

    /// The batches of `epoch` from number `first` on.
    fn epoch(&self, epoch: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_>;
}
