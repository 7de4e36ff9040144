//! The trait [`DatasetSource`], through which the rest of this crate uses a data set.

use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::encoded::CacheOptions;
use crate::error::DatasetError;
use crate::moments::Moments;
use crate::options::{FolderConfig, Labels, SyntheticConfig};
use crate::progress::OnProgress;
use crate::remote::RemoteFiles;

/// A data set that recipes can name.
///
/// To add one, write a module in `sources/` with a type that implements this trait, and add a line
/// to the table in `sources.rs`.
pub trait DatasetSource: Sync {
    /// The name in recipes, summaries and commands.
    fn name(&self) -> &'static str;

    /// The moments of all training images that publications normalise this data set with, in their
    /// usual four digits. `None` if there are no such customary moments.
    ///
    /// The deviations are those of all pixels as one population. Some publications use smaller
    /// ones, such as 0.2023 for CIFAR-10's red, which are means of the deviations of single images.
    fn published(&self) -> Option<Moments> {
        None
    }

    /// The official files, if they can be downloaded.
    fn remote(&self) -> Option<&'static RemoteFiles<'static>> {
        None
    }

    /// What the images are compared with when the data set is verified.
    fn reference(&self) -> Reference {
        Reference::Unknown
    }

    /// Whether the images are sorted by class. `test_limit` then keeps every class in proportion
    /// instead of the first images.
    fn is_sorted_by_class(&self) -> bool {
        false
    }

    /// Loads and checks all images.
    ///
    /// # Errors
    ///
    /// Names the file that is missing, unreadable or malformed, with the place in it, the value
    /// found and the value expected.
    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError>;
}

/// What is known of the official images of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The images come with the program, so they cannot differ.
    BuiltIn,
    /// Their hash, see [`sha256_of_images`](crate::verify::sha256_of_images).
    Sha256(&'static str),
    /// No hash of them is known.
    Unknown,
}

/// Options for loading a data set, independent of the recipe.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// The folder in which sources look for their files.
    pub data_dir: Option<&'a Path>,
    /// The folder for decoded images; by default the folder `packed` of the data directory. It is
    /// created if necessary. No other program may write into it. It may be deleted while no process
    /// uses it.
    pub cache_dir: Option<&'a Path>,
    /// Whether sources of many encoded images read all files again, although paths, lengths and
    /// times have not changed. A file with other bytes is an error then.
    pub again: bool,
    /// Receives progress reports of slow steps.
    pub progress: Option<OnProgress<'a>>,
}

/// The arguments of [`DatasetSource::load`].
#[derive(Clone)]
pub struct SourceArgs<'a> {
    /// Which label of CIFAR-100 is the class.
    pub labels: Labels,
    /// The recipe's table `folder`.
    pub folder: Option<&'a FolderConfig>,
    /// The recipe's table `synthetic`.
    pub synthetic: Option<&'a SyntheticConfig>,
    /// The folder in which the source looks for its files.
    pub data_dir: Option<&'a Path>,
    /// The folder for decoded images; see [`LoadOptions::cache_dir`].
    pub cache_dir: Option<PathBuf>,
    /// Whether all files are read again; see [`LoadOptions::again`].
    pub again: bool,
    /// Receives progress reports of slow steps.
    pub progress: Option<OnProgress<'a>>,
}

impl<'a> SourceArgs<'a> {
    /// Arguments without recipe keys of a single source.
    pub fn new(options: LoadOptions<'a>) -> Self {
        let LoadOptions { data_dir, cache_dir, again, progress } = options;
        let default = || data_dir.map(|data_dir| data_dir.join("packed"));
        Self {
            labels: Labels::default(),
            folder: None,
            synthetic: None,
            data_dir,
            cache_dir: cache_dir.map(Path::to_owned).or_else(default),
            again,
            progress,
        }
    }

    /// The data directory, which the source `name` needs.
    ///
    /// # Errors
    ///
    /// Fails if there is none.
    pub fn data_dir(&self, name: &'static str) -> Result<&'a Path, DatasetError> {
        self.data_dir.ok_or(DatasetError::NoDirectory { name })
    }

    /// The table `folder`, without which the source `folder` cannot be loaded.
    pub(crate) fn folder(&self) -> Result<&'a FolderConfig, DatasetError> {
        self.folder.ok_or_else(FolderConfig::missing)
    }

    /// How decoded images of the source `name` are cached.
    pub(crate) fn cache(&self, name: &'static str) -> Result<CacheOptions<'_>, DatasetError> {
        let Self { again, progress, .. } = *self;
        let cache_dir = self.cache_dir.as_deref().ok_or(DatasetError::NoDirectory { name })?;
        Ok(CacheOptions { cache_dir, again, progress })
    }
}
