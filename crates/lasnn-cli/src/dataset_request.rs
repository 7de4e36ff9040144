//! Reading a data set for a recipe or for a command, with progress and errors for a user.

use std::cell::RefCell;

use lasnn_core::Seed;
use lasnn_datasets::{
    self as datasets, Dataset, DatasetConfig, DatasetError, LoadOptions, Split, Step, Verified,
};

use crate::args::Global;
use crate::failure::invalid_input;
use crate::fetch;
use crate::progress::{Bar, Progress};
use crate::recipe::Origins;
use crate::signals::{self, Interrupted};

/// A data set to be read and split.
#[derive(Clone, Copy, Debug)]
pub struct DatasetRequest<'a> {
    /// The source and the sizes of the splits.
    pub config: &'a DatasetConfig,
    /// Where the recipe has its values, or the name of the data set. Errors begin with it.
    pub origins: &'a Origins,
    /// The seed of the split.
    pub seed: Seed,
}

/// The decoded images cannot be cached, for instance because the folder of data is read-only.
#[derive(Debug, thiserror::Error)]
#[error(
    "decoded images cannot be cached; name a folder for them with --cache-dir or the variable \
     LASNN_CACHE_DIR"
)]
struct NoCache {
    source: DatasetError,
}

impl DatasetRequest<'_> {
    /// Reads the data set, checks its structure and splits it.
    ///
    /// # Errors
    ///
    /// Fails if the data set is missing or malformed, or if the splits need more images than there
    /// are. The error of a missing data set contains the command that fetches it.
    pub fn load(&self, global: &Global, progress: &Progress) -> anyhow::Result<(Dataset, Split)> {
        self.read(global, progress, |options| {
            let dataset = datasets::load_with(self.config, options)?;
            let split = datasets::split(&dataset, self.config, self.seed)?;
            Ok((dataset, split))
        })
    }

    /// Loads the data set and compares its images with the official ones.
    ///
    /// # Errors
    ///
    /// Fails as [`load`](Self::load) does, and if the images differ from the official ones.
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

    /// Turns an error of the data set library into one that says what a user can do.
    pub fn explain(&self, error: DatasetError, global: &Global) -> anyhow::Error {
        match error {
            DatasetError::Config { key, .. } => {
                let place = self.origins.place(&format!("data.{key}"));
                invalid_input(format_args!("{place}: {error}"))
            }
            DatasetError::Missing { .. } | DatasetError::NoDirectory { .. } => {
                fetch::missing_dataset(error, self.config.source.name(), &global.data_dir())
            }
            DatasetError::Interrupted => Interrupted.into(),
            DatasetError::Unwritable { .. } => NoCache { source: error }.into(),
            other => other.into(),
        }
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
        let read = read(options).map_err(|error| self.explain(error, global))?;
        // Small data sets are read without a call to `show`, so a signal is noticed here.
        Interrupted::check()?;
        Ok(read)
    }
}

/// Shows how far the preparation of the images is: a line for each step, and a bar.
fn show(progress: &Progress, shown: &mut Option<(Step, Bar)>, at: datasets::Progress) {
    let bar = match shown {
        Some((step, bar)) if *step == at.step => bar,
        _ => {
            let label = match at.step {
                Step::Hashing => "hashing",
                Step::Waiting => "waiting",
                Step::Decoding => "decoding",
            };
            match at.step {
                Step::Waiting => {
                    progress.say("waiting for another process that prepares the same images");
                }
                _ => progress.say(format!("{label} {} files", at.total)),
            }
            // The old bar must disappear before the new one is drawn.
            *shown = None;
            &mut shown.insert((at.step, progress.bar(label, at.total as u64))).1
        }
    };
    bar.at(at.done as u64);
}
