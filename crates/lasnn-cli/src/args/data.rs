//! The arguments of `data`, and what other commands do about a missing data set.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::changes::SetOptions;
use crate::complete;

/// What to do if a data set is missing.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FetchOptions {
    /// Fetch the data set first if it is missing.
    #[arg(long)]
    pub fetch: bool,
    /// Fetch the files from this address instead of the official one.
    #[arg(long, value_name = "URL", requires = "fetch")]
    pub mirror: Option<String>,
}

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Read all data, check their structure, and compare the images with the official ones.
    ///
    /// Fails if the images differ. The official images are known of CIFAR-10 only. For other data
    /// sets the command says that only the structure was checked.
    #[command(after_help = "Example: lasnn data verify cifar10 --data-dir data")]
    Verify(DataTarget),
    /// Print the number of images and the statistics of the pixels.
    #[command(after_help = "Example: lasnn data info configs/quickstart.toml")]
    Info {
        /// The data.
        #[command(flatten)]
        target: DataTarget,
        /// Also write some training images of each class to this PNG file.
        #[arg(long, value_name = "FILE")]
        sheet: Option<PathBuf>,
    },
    /// Download a data set from its official address, check it and unpack it.
    ///
    /// Does nothing if the data set exists. An interrupted download is continued.
    #[command(after_help = "Example: lasnn data fetch cifar10 --data-dir data")]
    Fetch {
        /// The data set.
        #[arg(value_enum)]
        name: DatasetName,
        /// Fetch the files from this address instead of the official one.
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
}

/// The data of a recipe, or a whole data set.
#[derive(Debug, clap::Args)]
pub struct DataTarget {
    /// A recipe (.toml), or the name of a data set: digits, cifar10, cifar100, mnist,
    /// fashion-mnist, tiny-imagenet.
    #[arg(value_name = "RECIPE|NAME", add = ArgValueCompleter::new(complete::data_targets))]
    pub target: PathBuf,
    /// Values in place of the recipe's.
    #[command(flatten)]
    pub set_options: SetOptions,
    /// What to do if the data set is missing.
    #[command(flatten)]
    pub fetch_options: FetchOptions,
}

/// A data set that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasetName {
    /// 60,000 images of 3x32x32 in 10 classes; 170 MB.
    Cifar10,
    /// 60,000 images of 3x32x32 in 100 classes; 169 MB.
    Cifar100,
    /// 110,000 images of 3x64x64 in 200 classes; 248 MB.
    TinyImagenet,
    /// 70,000 digits of 1x28x28 in 10 classes; 12 MB.
    Mnist,
    /// 70,000 pieces of clothing of 1x28x28 in 10 classes; 31 MB.
    FashionMnist,
}

impl DatasetName {
    /// The name that the data set library uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::TinyImagenet => "tiny-imagenet",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }
}
