//! Image data sets: from the `[data]` table of a recipe to batches for a network.
//!
//! - [`config`]: what a recipe says about its data,
//! - [`dataset`]: images in memory, and [`load`], which gets them from their source and checks them,
//! - [`sources`]: one module per data set,
//! - [`formats`]: the formats that they come in, as functions on bytes,
//! - [`progress`]: how far the decoding of many images is,
//! - [`mod@split`]: which images are trained on, and which are held out for validation,
//! - [`normalise`]: from `u8` pixels to what a network sees,
//! - [`augment`]: crops, flips and cut-outs,
//! - [`loader`]: batches in a fixed order, made by threads ahead of their use,
//! - [`mod@verify`]: whether a data set is the official one,
//! - [`mod@describe`]: counts, class balance and channel statistics,
//! - [`mod@contact_sheet`]: some images of every class, to look at.
//!
//! With the cargo feature `fetch`, the module `fetch` gets data sets from their official addresses.
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
pub mod loader;
pub mod normalise;
mod pixels;
mod prefetch;
pub mod progress;
mod read;
pub mod sources;
pub mod split;
pub mod verify;
mod write;

pub use augment::AugmentConfig;
pub use config::{DatasetConfig, Source};
pub use contact_sheet::{ContactSheet, contact_sheet};
pub use dataset::{Dataset, Images, LoadOptions, load, load_with};
pub use describe::{Description, SplitDescription, describe};
pub use error::{DatasetError, Flaw, Place};
pub use loader::Loader;
pub use normalise::{Moments, Normalisation, Normaliser};
pub use pixels::Pixels;
pub use prefetch::Prefetch;
pub use progress::{OnProgress, Progress, Step};
pub use sources::cifar100::Labels;
pub use sources::folder::FolderConfig;
pub use sources::synthetic::SyntheticConfig;
pub use split::{Split, split};
pub use verify::{Verified, verify};
