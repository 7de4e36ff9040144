//! The images of a recipe, split and ready to be served.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use lasnn_core::{Batch, BatchSource, Seed};
use lasnn_datasets::{
    self as datasets, AugmentConfig, Dataset, DatasetConfig, DatasetError, Images, LoadOptions,
    Loader, Normalisation, Normaliser, Prefetch, Source, Split, Step, Verified,
};

use crate::args::{Global, Missing};
use crate::failure::wrong;
use crate::fetch;
use crate::progress::{Bar, Progress};
use crate::recipe::{Counts, Recipe};
use crate::signals::{self, Interrupted};
use crate::summary::DatasetSummary;

/// Images that are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which.
    pub config: &'a DatasetConfig,
    /// Who asks for them, a recipe or the name of a data set, as errors call it.
    pub by: &'a Path,
    /// What the split follows from.
    pub seed: Seed,
}

impl Wanted<'_> {
    /// Reads, checks and splits them.
    ///
    /// # Errors
    ///
    /// Fails if they are missing (then with the command that gets them) or malformed, or if more is
    /// asked for than there is.
    pub fn load(&self, global: &Global, progress: &Progress) -> anyhow::Result<(Dataset, Split)> {
        self.read(global, progress, |options| {
            let dataset = datasets::load_with(self.config, options)?;
            let split = datasets::split(&dataset, self.config, self.seed)?;
            Ok((dataset, split))
        })
    }

    /// The same, and compares them with the official ones.
    ///
    /// # Errors
    ///
    /// Fails as [`load`](Self::load) does, and if they are others.
    pub fn verify(
        &self,
        global: &Global,
        progress: &Progress,
    ) -> anyhow::Result<(Dataset, Split, Verified)> {
        self.read(global, progress, |options| {
            let (dataset, verified) = datasets::verify(self.config, options)?;
            let split = datasets::split(&dataset, self.config, self.seed)?;
            Ok((dataset, split, verified))
        })
    }

    fn read<T>(
        &self,
        global: &Global,
        progress: &Progress,
        read: impl FnOnce(LoadOptions<'_>) -> Result<T, DatasetError>,
    ) -> anyhow::Result<T> {
        let shown = RefCell::new(None);
        let show = |at: datasets::Progress| {
            show(progress, &mut shown.borrow_mut(), at);
            signals::go_on()
        };
        let (data_dir, cache_dir) = (global.data_dir(), global.cache_dir());
        let options = LoadOptions {
            data_dir: Some(&data_dir),
            cache_dir: cache_dir.as_deref(),
            progress: Some(&show),
            ..LoadOptions::default()
        };
        let read = read(options).map_err(|error| self.told(error, global))?;
        // Sources of few files ask nobody whether to go on.
        Interrupted::check()?;
        Ok(read)
    }

    /// An error as a user needs it.
    fn told(&self, error: DatasetError, global: &Global) -> anyhow::Error {
        match error {
            DatasetError::Config { .. } => wrong(format_args!("{}: {error}", self.by.display())),
            DatasetError::Missing { .. } | DatasetError::NoDirectory { .. } => {
                fetch::not_there(error, self.config.source.name(), &global.data_dir())
            }
            DatasetError::Interrupted => Interrupted.into(),
            DatasetError::Unwritable { .. } => NoCache { source: error }.into(),
            other => other.into(),
        }
    }
}

/// Images are decoded once and kept, and there is no place for them. A folder of data that can only
/// be read is nothing unusual.
#[derive(Debug, thiserror::Error)]
#[error(
    "decoded images cannot be kept; name a folder for them with --cache-dir or the variable \
     LASNN_CACHE_DIR"
)]
struct NoCache {
    source: DatasetError,
}

/// How many of which images there are.
pub fn summary(dataset: &Dataset, split: &Split) -> DatasetSummary {
    DatasetSummary {
        name: dataset.name.clone(),
        train: split.train.len(),
        validation: split.validation.len(),
        test: dataset.test.len(),
        sha256: dataset.sha256.clone(),
    }
}

/// The images of a recipe to train on.
#[derive(Debug)]
pub struct Data {
    /// All of them.
    pub dataset: Dataset,
    /// Which are trained on and which choose the epoch.
    pub split: Split,
    /// Which of those the student is trained on.
    student: Vec<u32>,
    source: Source,
    normaliser: Normaliser,
    augment: AugmentConfig,
    seed: Seed,
    prefetch: Prefetch,
}

impl Data {
    /// Loads the images of a recipe. A missing data set is fetched first if `options` say so.
    ///
    /// # Errors
    ///
    /// Fails as [`load`](Self::load) and [`fetch::get`] do.
    pub fn load_or_fetch(
        recipe: &Recipe,
        file: &Path,
        missing: &Missing,
        global: &Global,
    ) -> anyhow::Result<Self> {
        let progress = Progress::new(global.quiet);
        fetch::or_get(missing, global, || Self::load(recipe, file, global, &progress))
    }

    /// Reads, checks and splits the images of a recipe to train on.
    ///
    /// # Errors
    ///
    /// Fails if they are missing (then with the command that gets them) or malformed, if the recipe
    /// asks for more than there are, or if a signal comes.
    fn load(
        recipe: &Recipe,
        file: &Path,
        global: &Global,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let wanted = Wanted { config: &recipe.data, by: file, seed: recipe.seed };
        let (dataset, split) = wanted.load(global, progress)?;
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
            .map_err(|error| wanted.told(error, global))?;
        let usual = Prefetch::default();
        let prefetch = Prefetch { threads: usual.threads.min(global.threads()), ..usual };
        let (augment, seed) = (recipe.data.augment, recipe.seed);
        Ok(Self { dataset, split, student, source, normaliser, augment, seed, prefetch })
    }

    /// How pixels become numbers.
    pub fn normaliser(&self) -> &Normaliser {
        &self.normaliser
    }

    /// A normaliser of another kind for these images.
    ///
    /// # Errors
    ///
    /// Fails if the kind is `published` and there are no such numbers.
    pub fn fit(&self, kind: Normalisation) -> Result<Normaliser, DatasetError> {
        Normaliser::fit(kind, self.source, &self.dataset.train, &self.split.train)
    }

    /// Takes another normaliser, for as many channels, in place of the recipe's.
    pub fn normalise_with(&mut self, normaliser: Normaliser) {
        self.normaliser = normaliser;
    }

    /// How many images the networks are trained on.
    pub fn counts(&self) -> Counts {
        Counts { train: self.split.train.len(), student: self.student.len() }
    }

    /// The images to train on, `batch` at a time, in the order of the seed.
    ///
    /// With `without_single` a last batch of a single image is left out, another image in each
    /// epoch: a batch norm needs two.
    pub fn train(&self, batch: usize, without_single: bool) -> Loader {
        let images = self.split.train.clone();
        let single = images.len() % batch == 1;
        let loader = self.training(images, batch, self.augment);
        if single && without_single { loader.without_partial_batch() } else { loader }
    }

    /// The images to train the student on, which may be fewer.
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
        summary(&self.dataset, &self.split)
    }

    fn training(&self, indices: Vec<u32>, batch: usize, augment: AugmentConfig) -> Loader {
        let images = self.dataset.train.clone();
        Loader::train(images, indices, batch, &self.normaliser, augment, self.seed)
            .with_prefetch(self.prefetch)
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
                _ => progress.say(format!("{label} {} files", at.total)),
            }
            // The old bar goes before the new one comes.
            *shown = None;
            &mut shown.insert((at.step, progress.bar(label, at.total as u64))).1
        }
    };
    bar.at(at.done as u64);
}
