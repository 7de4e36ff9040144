//! The images of a recipe: training, validation and test split, served as batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use lasnn_core::{Batch, BatchSource, Seed};
use lasnn_datasets::{
    self as datasets, AugmentConfig, Dataset, DatasetConfig, DatasetError, Images, Loader,
    Normalisation, Normaliser, Prefetch, Source, Split,
};

use crate::args::{FetchOptions, Global};
use crate::dataset_request::DatasetRequest;
use crate::failure::invalid_input;
use crate::fetch;
use crate::progress::Progress;
use crate::recipe::{Origins, Recipe};
use crate::summary::DatasetSummary;

/// The images of a recipe.
#[derive(Debug)]
pub struct Splits {
    /// All images.
    pub dataset: Dataset,
    /// The indices of the training images and of the validation images.
    pub split: Split,
    /// The indices of a smaller number of training images, for each number that a stage has.
    limited: BTreeMap<usize, Vec<u32>>,
    source: Source,
    normaliser: Normaliser,
    augment: AugmentConfig,
    seed: Seed,
    prefetch: Prefetch,
}

impl Splits {
    /// Loads the images of a recipe. Fetches a missing data set first if `fetch_options` say so.
    ///
    /// # Errors
    ///
    /// Fails if the data set is missing or malformed, if the recipe needs more images than there
    /// are, if a signal comes, or as [`fetch::fetch_dataset`] does. The error of a missing data set
    /// contains the command that fetches it.
    pub fn load_or_fetch(
        recipe: &Recipe,
        origins: &Origins,
        fetch_options: &FetchOptions,
        global: &Global,
    ) -> anyhow::Result<Self> {
        let progress = Progress::new(global.quiet);
        fetch::fetch_if_missing(fetch_options, global, || {
            Self::load(recipe, origins, global, &progress)
        })
    }

    fn load(
        recipe: &Recipe,
        origins: &Origins,
        global: &Global,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let request = DatasetRequest { config: &recipe.data, origins, seed: recipe.seed };
        let (dataset, split) = request.load(global, progress)?;
        if split.validation.is_empty() {
            return Err(invalid_input(format_args!(
                "{}: data.validation is 0, expected at least 1 since the validation images choose \
                 the epoch, or a folder `val` next to `train`",
                origins.place("data.validation"),
            )));
        }
        let mut limited = BTreeMap::new();
        for (key, limit) in recipe.train_limits() {
            if limit > split.train.len() {
                return Err(invalid_input(format_args!(
                    "{}: {key} is {limit}, expected at most the {} training images",
                    origins.place(&key),
                    split.train.len(),
                )));
            }
            let config = DatasetConfig { train_limit: Some(limit), ..recipe.data.clone() };
            limited.insert(limit, datasets::split(&dataset, &config, recipe.seed)?.train);
        }
        let DatasetConfig { normalisation, source, .. } = recipe.data;
        let normaliser = Normaliser::fit(normalisation, source, &dataset.train, &split.train)
            .map_err(|error| request.explain(error, global))?;
        let default = Prefetch::default();
        let prefetch = Prefetch { threads: default.threads.min(global.threads()), ..default };
        let (augment, seed) = (recipe.data.augment, recipe.seed);
        Ok(Self { dataset, split, limited, source, normaliser, augment, seed, prefetch })
    }

    /// The normalisation of the pixels.
    pub fn normaliser(&self) -> &Normaliser {
        &self.normaliser
    }

    /// Fits a normaliser of another kind to the training images.
    ///
    /// # Errors
    ///
    /// Fails if the kind is `published` and no numbers are published for the data set.
    pub fn fit(&self, kind: Normalisation) -> Result<Normaliser, DatasetError> {
        Normaliser::fit(kind, self.source, &self.dataset.train, &self.split.train)
    }

    /// Replaces the normaliser. The new one must have as many channels as the images.
    pub fn normalise_with(&mut self, normaliser: Normaliser) {
        self.normaliser = normaliser;
    }

    /// The number of images to train on.
    pub fn train_images(&self) -> usize {
        self.split.train.len()
    }

    /// The training images, `batch` at a time, in an order that follows from the seed.
    ///
    /// With `without_single` a last batch of one image is left out, because batch norm needs two
    /// images. Which image that is differs between epochs.
    pub fn train(&self, batch: usize, without_single: bool) -> Loader {
        self.augmented(self.split.train.clone(), batch, without_single)
    }

    fn augmented(&self, images: Vec<u32>, batch: usize, without_single: bool) -> Loader {
        let single = images.len() % batch == 1;
        let loader = self.training(images, batch, self.augment);
        if single && without_single { loader.without_partial_batch() } else { loader }
    }

    /// The training images of a student, see [`Self::train`]. If the recipe limits their number,
    /// there are `limit`.
    pub fn train_student(
        &self,
        batch: usize,
        limit: Option<usize>,
        without_single: bool,
    ) -> Loader {
        let limited = limit.and_then(|limit| self.limited.get(&limit));
        self.augmented(limited.unwrap_or(&self.split.train).clone(), batch, without_single)
    }

    /// The validation images, which choose the epoch.
    pub fn validation(&self, batch: usize) -> Loader {
        self.evaluation(&self.dataset.train, self.split.validation.clone(), batch)
    }

    /// The test images, which give the reported accuracy.
    pub fn test(&self, batch: usize) -> Loader {
        let all = (0..self.dataset.test.len() as u32).collect();
        self.evaluation(&self.dataset.test, all, batch)
    }

    /// Batches of training images on which thresholds are balanced. The seed chooses the images.
    pub fn balancing(&self, batches: usize, batch: usize) -> Vec<Batch> {
        // Without augmentation: the empty border of a crop drives no neuron and would lower a
        // percentile.
        let images = self.training(self.split.train.clone(), batch, AugmentConfig::default());
        images.epoch(0, 0).take(batches).collect()
    }

    /// The data set and the number of images in each split.
    pub fn summary(&self) -> DatasetSummary {
        DatasetSummary::new(&self.dataset, &self.split)
    }

    fn training(&self, indices: Vec<u32>, batch: usize, augment: AugmentConfig) -> Loader {
        let images = self.dataset.train.clone();
        Loader::train(images, indices, batch, &self.normaliser, augment, self.seed)
            .with_prefetch(self.prefetch)
    }

    fn evaluation(&self, images: &Arc<Images>, indices: Vec<u32>, batch: usize) -> Loader {
        Loader::evaluate(images.clone(), indices, batch, &self.normaliser)
            .with_prefetch(self.prefetch)
    }
}
