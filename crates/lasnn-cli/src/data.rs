//! The images of a recipe, split and ready to be served.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use lasnn_core::{Batch, BatchSource, Seed};
use lasnn_datasets::{
    self as datasets, AugmentConfig, Dataset, DatasetConfig, DatasetError, Images, LoadOptions,
    Loader, Normaliser, Prefetch, Split, Step,
};

use crate::failure::wrong;
use crate::fetch;
use crate::progress::{Bar, Progress};
use crate::recipe::Recipe;
use crate::signals::{self, Interrupted};
use crate::summary::DatasetSummary;

/// The images of a recipe.
#[derive(Debug)]
pub struct Data {
    /// All of them.
    pub dataset: Dataset,
    /// Which are trained on and which choose the epoch.
    pub split: Split,
    /// Which of those the student is trained on.
    student: Vec<u32>,
    normaliser: Normaliser,
    augment: AugmentConfig,
    seed: Seed,
    prefetch: Prefetch,
}

impl Data {
    /// Reads, checks and splits the images of a recipe.
    ///
    /// # Errors
    ///
    /// Fails if they are missing (then with the command that gets them) or malformed, if the recipe
    /// asks for more than there are, or if a signal comes.
    pub fn load(
        recipe: &Recipe,
        file: &Path,
        data_dir: &Path,
        threads: usize,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let in_recipe = |error: DatasetError| match error {
            DatasetError::Config { .. } => wrong(format_args!("{}: {error}", file.display())),
            DatasetError::Missing { .. } | DatasetError::NoDirectory { .. } => {
                fetch::not_there(error, recipe.data.source.name(), data_dir)
            }
            DatasetError::Interrupted => Interrupted.into(),
            other => other.into(),
        };
        let shown = RefCell::new(None);
        let show = |at: datasets::Progress| {
            show(progress, &mut shown.borrow_mut(), at);
            signals::go_on()
        };
        let options = LoadOptions {
            data_dir: Some(data_dir),
            progress: Some(&show),
            ..LoadOptions::default()
        };
        let dataset = datasets::load_with(&recipe.data, options).map_err(in_recipe)?;
        drop(shown.take());
        // Sources of few files ask nobody whether to go on.
        Interrupted::check()?;
        let split = datasets::split(&dataset, &recipe.data, recipe.seed).map_err(in_recipe)?;
        if split.validation.is_empty() {
            return Err(wrong(format_args!(
                "{}: data.validation is 0, expected at least 1 since it chooses the epoch, or a \
                 folder `val` beside `train`",
                file.display(),
            )));
        }
        let student = match recipe.student.train_limit {
            Some(limit) if limit > split.train.len() => {
                return Err(wrong(format_args!(
                    "{}: student.train_limit is {limit}, expected at most the {} training images",
                    file.display(),
                    split.train.len(),
                )));
            }
            None => split.train.clone(),
            train_limit => {
                let config = DatasetConfig { train_limit, ..recipe.data.clone() };
                datasets::split(&dataset, &config, recipe.seed)?.train
            }
        };
        let DatasetConfig { normalisation, source, .. } = recipe.data;
        let normaliser = Normaliser::fit(normalisation, source, &dataset.train, &split.train)
            .map_err(in_recipe)?;
        let usual = Prefetch::default();
        let prefetch = Prefetch { threads: usual.threads.min(threads), ..usual };
        let (augment, seed) = (recipe.data.augment, recipe.seed);
        Ok(Self { dataset, split, student, normaliser, augment, seed, prefetch })
    }

    /// The images to train on, `batch` at a time, in the order of the seed.
    pub fn train(&self, batch: usize) -> Loader {
        self.training(self.split.train.clone(), batch, self.augment)
    }

    /// The same for the student, which may see fewer.
    pub fn train_student(&self, batch: usize) -> Loader {
        self.training(self.student.clone(), batch, self.augment)
    }

    /// The images that choose the epoch.
    pub fn validation(&self, batch: usize) -> Loader {
        self.measured(&self.dataset.train, self.split.validation.clone(), batch)
    }

    /// The images of the final number.
    pub fn test(&self, batch: usize) -> Loader {
        let all = (0..self.dataset.test.len() as u32).collect();
        self.measured(&self.dataset.test, all, batch)
    }

    /// Batches to balance thresholds on: images trained on, drawn by the seed, as they are.
    pub fn balancing(&self, batches: usize, batch: usize) -> Vec<Batch> {
        // Not augmented: a crop's empty border drives no neuron and would lower a percentile.
        let images = self.training(self.split.train.clone(), batch, AugmentConfig::default());
        images.epoch(0, 0).take(batches).collect()
    }

    /// How many of which images there are.
    pub fn summary(&self) -> DatasetSummary {
        DatasetSummary {
            name: self.dataset.name.clone(),
            train: self.split.train.len(),
            validation: self.split.validation.len(),
            test: self.dataset.test.len(),
            sha256: self.dataset.sha256.clone(),
        }
    }

    fn training(&self, indices: Vec<u32>, batch: usize, augment: AugmentConfig) -> Loader {
        let images = self.dataset.train.clone();
        let rest = indices.len() % batch;
        let loader = Loader::train(images, indices, batch, &self.normaliser, augment, self.seed)
            .with_prefetch(self.prefetch);
        // A single image has no variance for a batch norm.
        if rest == 1 { loader.without_partial_batch() } else { loader }
    }

    fn measured(&self, images: &Arc<Images>, indices: Vec<u32>, batch: usize) -> Loader {
        Loader::evaluate(images.clone(), indices, batch, &self.normaliser)
            .with_prefetch(self.prefetch)
    }
}

/// Shows how far the preparation of many images is: a line for each step, and a bar.
fn show(progress: &Progress, shown: &mut Option<(Step, Bar)>, at: datasets::Progress) {
    let bar = match shown {
        Some((step, bar)) if *step == at.step => bar,
        _ => {
            let label = match at.step {
                Step::Hashing => "hashes",
                Step::Waiting => "waits",
                Step::Decoding => "decodes",
            };
            match at.step {
                Step::Waiting => {
                    progress.say("waits for another process that prepares the same images");
                }
                _ => progress.say(format!("{label} {} files, once", at.total)),
            }
            // The old bar goes before the new one comes.
            *shown = None;
            &mut shown.insert((at.step, progress.bar(label, at.total as u64))).1
        }
    };
    bar.at(at.done as u64);
}
