//! Batches in a fixed order, prepared by threads ahead of their use.

use std::sync::Arc;

use lasnn_core::{Batch, BatchSource, Seed, Stream};

use crate::augment::AugmentConfig;
use crate::dataset::Images;
use crate::normalise::Normaliser;
use crate::prefetch::{Prefetch, Prefetched};

/// Serves some images of a split, normalised, in batches.
///
/// The samples of a batch are the indices of its images in the file order of their split, so a test
/// image may have the same number as a training image. The last batch of an epoch may be smaller.
#[derive(Clone, Debug)]
pub struct Loader {
    plan: Arc<LoadPlan>,
    batch_size: usize,
    drop_partial: bool,
    prefetch: Prefetch,
}

/// The data from which the threads make batches.
#[derive(Debug)]
struct LoadPlan {
    images: Arc<Images>,
    indices: Vec<u32>,
    /// For each channel, the normalised values of the 256 pixel values.
    tables: Vec<[f32; 256]>,
    training: Option<Training>,
}

/// Options of a training loader.
#[derive(Debug)]
struct Training {
    augment: AugmentConfig,
    seed: Seed,
}

impl Loader {
    /// Serves the images `indices`, augmented, in an order that is drawn for each epoch.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0, or if `normaliser` has another number of channels.
    pub fn train(
        images: Arc<Images>,
        indices: Vec<u32>,
        batch_size: usize,
        normaliser: &Normaliser,
        augment: AugmentConfig,
        seed: Seed,
    ) -> Self {
        Self::new(images, indices, batch_size, normaliser, Some(Training { augment, seed }))
    }

    /// Serves the images `indices` in the order of this list, without augmentation. All epochs are
    /// equal.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0, or if `normaliser` has another number of channels.
    pub fn evaluate(
        images: Arc<Images>,
        indices: Vec<u32>,
        batch_size: usize,
        normaliser: &Normaliser,
    ) -> Self {
        Self::new(images, indices, batch_size, normaliser, None)
    }

    fn new(
        images: Arc<Images>,
        indices: Vec<u32>,
        batch_size: usize,
        normaliser: &Normaliser,
        training: Option<Training>,
    ) -> Self {
        assert!(batch_size > 0, "the batch size is 0, expected at least 1");
        let tables = normaliser.tables();
        let channels = images.shape.channels;
        assert!(
            tables.len() == channels,
            "the normaliser is for {} channels, but images have {channels}",
            tables.len()
        );
        Self {
            plan: Arc::new(LoadPlan { images, indices, tables, training }),
            batch_size,
            drop_partial: false,
            prefetch: Prefetch::default(),
        }
    }

    /// Omits a smaller last batch, for networks that cannot train on a single image. The omitted
    /// images differ between epochs.
    pub fn without_partial_batch(mut self) -> Self {
        self.drop_partial = true;
        self
    }

    /// Replaces the default prefetching.
    pub fn with_prefetch(mut self, prefetch: Prefetch) -> Self {
        self.prefetch = prefetch;
        self
    }
}

impl BatchSource for Loader {
    fn len(&self) -> usize {
        let images = self.plan.indices.len();
        if self.drop_partial { images - images % self.batch_size } else { images }
    }

    fn batches(&self) -> usize {
        self.len().div_ceil(self.batch_size)
    }

    fn epoch(&self, epoch: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        let plan = self.plan.clone();
        let order = plan.order(epoch);
        let (size, images) = (self.batch_size, self.len());
        let make = move |batch: usize| {
            plan.batch(&order[batch * size..((batch + 1) * size).min(images)], epoch)
        };
        Box::new(Prefetched::new(first..self.batches(), self.prefetch, make))
    }
}

impl LoadPlan {
    /// The indices of the images of an epoch, in order.
    fn order(&self, epoch: u32) -> Vec<u32> {
        match &self.training {
            None => self.indices.clone(),
            Some(Training { seed, .. }) => {
                let drawn = seed.draws(Stream::Order, [epoch, 0, 0]);
                let order = drawn.permutation(self.indices.len());
                order.into_iter().map(|place| self.indices[place as usize]).collect()
            }
        }
    }

    fn batch(&self, samples: &[u32], epoch: u32) -> Batch {
        let shape = self.images.shape;
        let mut pixels = Vec::with_capacity(samples.len() * shape.len());
        let mut varied = vec![0; shape.len()];
        for &sample in samples {
            let mut image = self.images.image(sample as usize);
            if let Some(Training { augment, seed }) = &self.training {
                augment.draw(shape, *seed, epoch, sample).apply(image, shape, &mut varied);
                image = &varied;
            }
            for (plane, table) in image.chunks(shape.height * shape.width).zip(&self.tables) {
                pixels.extend(plane.iter().map(|&pixel| table[usize::from(pixel)]));
            }
        }
        let labels = samples.iter().map(|&sample| self.images.labels[sample as usize]).collect();
        Batch { shape, pixels, labels, samples: samples.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalise::Normalisation;
    use crate::options::SyntheticConfig;
    use crate::sources::Source;
    use crate::sources::synthetic;

    const AUGMENT: AugmentConfig = AugmentConfig { crop_padding: 2, flip: true, cutout: 3 };

    fn images() -> Arc<Images> {
        let config =
            SyntheticConfig { height: 6, width: 5, train: 70, ..SyntheticConfig::default() };
        synthetic::load(&config).train
    }

    fn normaliser(normalisation: Normalisation, images: &Images) -> Normaliser {
        Normaliser::fit(normalisation, Source::Synthetic, images, &[]).unwrap()
    }

    fn training(seed: u32) -> Loader {
        let images = images();
        let normaliser = normaliser(Normalisation::Signed, &images);
        Loader::train(images, (10..70).collect(), 8, &normaliser, AUGMENT, Seed(seed))
    }

    fn batches(loader: &Loader, epoch: u32, first: usize) -> Vec<Batch> {
        loader.epoch(epoch, first).collect()
    }

    #[test]
    fn batches_do_not_depend_on_threads() {
        let expected = batches(&training(1).with_prefetch(Prefetch { threads: 0, depth: 0 }), 3, 0);
        for threads in [1, 2, 5] {
            let loader = training(1).with_prefetch(Prefetch { threads, depth: 2 });
            assert_eq!(batches(&loader, 3, 0), expected);
        }
    }

    #[test]
    fn an_epoch_can_be_entered_at_any_batch() {
        let loader = training(1);
        let all = batches(&loader, 2, 0);
        for first in 0..=all.len() {
            assert_eq!(batches(&loader, 2, first), all[first..]);
        }
        assert_eq!(loader.epoch(2, 100).count(), 0);
    }

    #[test]
    fn an_epoch_has_every_image_once_in_an_order_of_its_own() {
        let loader = training(1);
        let order = |loader: &Loader, epoch| -> Vec<u32> {
            loader.epoch(epoch, 0).flat_map(|batch| batch.samples).collect()
        };
        let first = order(&loader, 0);
        assert_ne!(first, order(&loader, 1));
        assert_ne!(first, order(&training(2), 0));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(10..70));
        assert_eq!((loader.len(), loader.batches()), (60, 8));
        let sizes: Vec<usize> = loader.epoch(0, 0).map(|batch| batch.len()).collect();
        assert_eq!(sizes, [8, 8, 8, 8, 8, 8, 8, 4]);
    }

    #[test]
    fn a_partial_batch_can_be_left_out() {
        let loader = training(1).without_partial_batch();
        assert_eq!((loader.len(), loader.batches()), (56, 7));
        assert_eq!(batches(&loader, 0, 0), batches(&training(1), 0, 0)[..7]);
    }

    #[test]
    fn the_same_image_varies_between_epochs_but_keeps_its_label() {
        let loader = training(1);
        let images = images();
        let of = |epoch, sample| {
            let batch = loader.epoch(epoch, 0).find(|batch| batch.samples.contains(&sample));
            let batch = batch.unwrap();
            let at = batch.samples.iter().position(|&s| s == sample).unwrap();
            batch.slice(at..at + 1)
        };
        let (first, second) = (of(0, 33), of(1, 33));
        assert_ne!(first.pixels, second.pixels);
        assert_eq!((first.labels[0], second.labels[0]), (images.labels[33], images.labels[33]));
    }

    #[test]
    fn evaluation_serves_the_images_as_they_are() {
        let images = images();
        let normaliser = normaliser(Normalisation::Unit, &images);
        let loader = Loader::evaluate(images.clone(), vec![4, 2, 60], 2, &normaliser);
        let served = batches(&loader, 0, 0);
        assert_eq!(served, batches(&loader, 9, 0));
        assert_eq!((&served[0].samples[..], &served[1].samples[..]), (&[4, 2][..], &[60][..]));
        let expected: Vec<f32> =
            [4, 2].iter().flat_map(|&i| images.image(i)).map(|&p| f32::from(p) / 255.0).collect();
        assert_eq!(served[0].pixels.len(), 2 * images.shape.len());
        for (found, expected) in served[0].pixels.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-7);
        }
        assert_eq!(served[1].labels, [images.labels[60]]);
    }

    #[test]
    fn no_image_is_no_batch() {
        let images = images();
        let normaliser = normaliser(Normalisation::Unit, &images);
        let loader = Loader::evaluate(images, Vec::new(), 2, &normaliser);
        assert!(loader.is_empty());
        assert_eq!((loader.batches(), loader.epoch(0, 0).count()), (0, 0));
    }
}
