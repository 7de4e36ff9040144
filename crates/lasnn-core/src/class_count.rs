//! How many images of each class a network classifies correctly.

use serde::{Deserialize, Serialize};

/// The number of images of one class, and how many of them were classified correctly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Images whose label is this class.
    pub images: u64,
    /// Images of the class whose largest class score belongs to the class.
    pub correct: u64,
}

impl ClassCount {
    /// Counts for `classes` classes, all zero.
    pub fn of(classes: usize) -> Vec<Self> {
        vec![Self::default(); classes]
    }

    /// Counts an image of the class.
    pub fn add(&mut self, correct: bool) {
        self.images += 1;
        self.correct += u64::from(correct);
    }

    /// The share of images that were classified correctly, or `None` if the class has no image.
    pub fn accuracy(&self) -> Option<f64> {
        (self.images > 0).then(|| self.correct as f64 / self.images as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_without_images_has_no_accuracy() {
        let mut counts = [ClassCount::default(); 2];
        [true, false, true, true].iter().for_each(|&correct| counts[1].add(correct));
        assert_eq!(counts.map(|count| count.accuracy()), [None, Some(0.75)]);
    }
}
