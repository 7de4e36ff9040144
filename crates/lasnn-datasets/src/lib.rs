//! Image data sets: from the table `[data]` of a recipe to batches for a network.
//!
//! - [`config`]: the table `[data]`, and [`options`], its keys that belong to one source,
//! - [`mod@load`]: loads and checks the images of a recipe,
//! - [`sources`]: the table of data sets and a module for each, and [`source`], their trait,
//! - [`dataset`]: images in memory,
//! - [`formats`]: parsers of file formats, as functions on bytes,
//! - [`progress`]: the progress of decoding many images,
//! - [`mod@split`]: the split into training and validation images,
//! - [`normalise`] and [`moments`]: from `u8` pixels to the input of a network,
//! - [`augment`]: random crop, flip and cutout,
//! - [`loader`]: batches in a fixed order, prepared ahead by threads,
//! - [`mod@verify`]: whether a data set is the official one,
//! - [`mod@describe`]: counts, class balance and channel statistics,
//! - [`mod@contact_sheet`]: a picture with some images of every class,
//! - [`remote`]: addresses, sizes and checksums of the official files.
//!
//! The cargo feature `fetch` adds the module `fetch`, which downloads these files.
//!
//! ```
//! use lasnn_core::{BatchSource, Seed};
//! use lasnn_datasets::{DatasetConfig, Loader, Normaliser, Source, load, split};
//!
//! let config = DatasetConfig { validation: 200, ..DatasetConfig::new(Source::Digits) };
//! let dataset = load(&config, None)?;
//! let split = split(&dataset, &config, Seed(1))?;
//! let normaliser =
//!     Normaliser::fit(config.normalisation, config.source, &dataset.train, &split.train)?;
//! let loader = Loader::train(
//!     dataset.train.clone(), split.train, 64, &normaliser, config.augment, Seed(1),
//! );
//! let first = loader.epoch(0, 0).next();
//! assert_eq!(first.map(|batch| batch.len()), Some(64));
//! # Ok::<(), lasnn_datasets::DatasetError>(())
//! ```

pub mod augment;
pub mod config;
pub mod contact_sheet;
pub mod dataset;
pub mod describe;
mod encoded;
pub mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod formats;
mod hex;
pub mod load;
pub mod loader;
mod lock;
pub mod moments;
pub mod normalise;
pub mod options;
mod pixels;
mod prefetch;
pub mod progress;
mod read;
pub mod remote;
pub mod source;
pub mod sources;
pub mod split;
pub mod verify;
mod write;

pub use augment::AugmentConfig;
pub use config::DatasetConfig;
pub use contact_sheet::{ContactSheet, contact_sheet};
pub use dataset::{Dataset, Images};
pub use describe::{Description, SplitDescription, describe};
pub use error::{DatasetError, Flaw, Place};
pub use load::{load, load_with};
pub use loader::Loader;
pub use moments::Moments;
pub use normalise::{Normalisation, Normaliser};
pub use options::{FolderConfig, Labels, SyntheticConfig};
pub use pixels::Pixels;
pub use prefetch::Prefetch;
pub use progress::{OnProgress, Progress, Step};
pub use remote::RemoteFiles;
pub use source::{DatasetSource, LoadOptions};
pub use sources::Source;
pub use split::{Split, split};
pub use verify::{Verified, verify};

/// The code in the README must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
