//! The `[data]` table of a recipe.

use lasnn_core::Shape;
use serde::{Deserialize, Serialize};

use crate::augment::AugmentConfig;
use crate::error::DatasetError;
use crate::normalise::{Normalisation, published};
use crate::options::{FolderConfig, Labels, SyntheticConfig};
use crate::sources::Source;

/// The table `[data]`: which images a recipe uses, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// The data set.
    pub source: Source,
    /// Which label of a CIFAR-100 image is its class: `fine` (the default) or `coarse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// How pixels are normalised for the network.
    #[serde(default)]
    pub normalisation: Normalisation,
    /// The number of training images that are held out for validation. With 0 there are none, and
    /// no epoch can be selected, unless the data set itself holds some out.
    #[serde(default)]
    pub validation: usize,
    /// The number of training images, out of those left after the validation split; by default all
    /// of them. The seed chooses which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// The number of test images; by default all of them. The first images are used, except of a
    /// folder, where every class is used in proportion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// How training images are augmented.
    #[serde(default)]
    pub augment: AugmentConfig,
    /// The images of the source `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderConfig>,
    /// The images of the source `synthetic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticConfig>,
}

impl DatasetConfig {
    /// All images of `source`, without validation split and augmentation.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            labels: None,
            normalisation: Normalisation::default(),
            validation: 0,
            train_limit: None,
            test_limit: None,
            augment: AugmentConfig::default(),
            folder: None,
            synthetic: None,
        }
    }

    /// Fills in the defaults of the source, as a resolved recipe needs them.
    ///
    /// # Errors
    ///
    /// See [`validate`](Self::validate).
    pub fn resolved(mut self) -> Result<Self, DatasetError> {
        self.validate()?;
        match self.source {
            Source::Cifar100 => {
                self.labels.get_or_insert_default();
            }
            Source::Synthetic => {
                self.synthetic.get_or_insert_default();
            }
            _ => {}
        }
        Ok(self)
    }

    /// Checks everything that can be checked without the images. [`crate::load()`] checks the rest.
    ///
    /// # Errors
    ///
    /// Names the first key with an impossible value.
    pub fn validate(&self) -> Result<(), DatasetError> {
        for (key, limit) in [("train_limit", self.train_limit), ("test_limit", self.test_limit)] {
            if limit == Some(0) {
                return Err(DatasetError::config(key, 0, "at least 1, or no such key for all"));
            }
        }
        if self.normalisation == Normalisation::Published {
            published(self.source)?;
        }
        self.only_with("labels", self.labels.is_some(), Source::Cifar100)?;
        self.only_with("folder", self.folder.is_some(), Source::Folder)?;
        self.only_with("synthetic", self.synthetic.is_some(), Source::Synthetic)?;
        if self.source == Source::Folder {
            self.folder.as_ref().ok_or_else(FolderConfig::missing)?.validate()?;
        }
        self.synthetic.as_ref().map_or(Ok(()), SyntheticConfig::validate)
    }

    /// Checks that a key of one source is not given for another source.
    fn only_with(
        &self,
        key: &'static str,
        given: bool,
        source: Source,
    ) -> Result<(), DatasetError> {
        if !given || self.source == source {
            return Ok(());
        }
        let found = format!("given for the source `{}`", self.source.name());
        let expected = format!("it only with the source `{}`", source.name());
        Err(DatasetError::config(key, found, expected))
    }

    /// Checks the configuration against the number and the shape of the images.
    pub(crate) fn validate_for(
        &self,
        shape: Shape,
        train: usize,
        held_out: Option<usize>,
        test: usize,
    ) -> Result<(), DatasetError> {
        self.validate_counts(train, held_out)?;
        if let Some(limit) = self.test_limit.filter(|&limit| limit > test) {
            let expected = format!("at most the {test} test images");
            return Err(DatasetError::config("test_limit", limit, expected));
        }
        self.augment.validate(shape)
    }

    /// Checks the validation split and `train_limit` against the number of training images and the
    /// number of them that the data set itself holds out.
    pub(crate) fn validate_counts(
        &self,
        train: usize,
        held_out: Option<usize>,
    ) -> Result<(), DatasetError> {
        let validation = match (self.validation, held_out) {
            (validation, None) => validation,
            (0, Some(held_out)) => held_out,
            (validation, Some(held_out)) => {
                let expected = format!(
                    "0 or no such key, since the data set holds {held_out} images out itself"
                );
                return Err(DatasetError::config("validation", validation, expected));
            }
        };
        if validation >= train {
            let expected = format!("less than the {train} training images");
            return Err(DatasetError::config("validation", validation, expected));
        }
        let left = train - validation;
        match self.train_limit {
            Some(limit) if limit > left => {
                let expected = format!("at most the {left} images left after the validation split");
                Err(DatasetError::config("train_limit", limit, expected))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(text: &str) -> DatasetConfig {
        toml::from_str(text).unwrap()
    }

    #[track_caller]
    fn refuses(text: &str, message: &str) {
        let error = crate::load(&parse(text), None).unwrap_err().to_string();
        assert_eq!(error, message);
    }

    #[test]
    fn recipes_name_sources() {
        for source in Source::ALL {
            assert_eq!(parse(&format!("source = '{}'", source.name())).source, source);
            assert_eq!(Source::named(source.name()), Some(source));
        }
        assert_eq!(Source::named("imagenet"), None);
    }

    #[test]
    fn only_the_source_must_be_named() {
        assert_eq!(parse("source = 'digits'"), DatasetConfig::new(Source::Digits));
    }

    #[test]
    fn a_resolved_table_survives_writing_and_reading() {
        let config = parse(
            "source = 'synthetic'\nnormalisation = 'standard'\nvalidation = 10\ntrain_limit = 20\n\
             augment = { crop_padding = 2, flip = true }\nsynthetic = { classes = 3 }",
        );
        let resolved = config.resolved().unwrap();
        assert_eq!(parse(&toml::to_string(&resolved).unwrap()), resolved);
        let defaults = parse("source = 'synthetic'").resolved().unwrap();
        assert_eq!(defaults.synthetic, Some(SyntheticConfig::default()));
        let folder = "source = 'folder'\nfolder = { path = 'flowers', size = [32, 48] }";
        let folder = parse(folder).resolved().unwrap();
        assert_eq!(parse(&toml::to_string(&folder).unwrap()), folder);
        let defaults = parse("source = 'cifar100'").resolved().unwrap();
        assert_eq!(defaults.labels, Some(Labels::Fine));
    }

    #[test]
    fn unknown_keys_and_sources_are_errors() {
        for (text, word) in [
            ("source = 'digits'\nvalidaton = 3", "validaton"),
            ("source = 'digits'\naugment = { flipp = true }", "flipp"),
            ("source = 'synthetic'\nsynthetic = { clases = 3 }", "clases"),
            ("source = 'emnist'", "emnist"),
            ("source = 'folder'\nfolder = { path = 'x', size = [8, 8], resiz = true }", "resiz"),
            ("source = 'folder'\nfolder = { path = 'x' }", "size"),
            ("source = 'cifar100'\nlabels = 'middle'", "middle"),
        ] {
            let error = toml::from_str::<DatasetConfig>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn errors_name_the_key_the_value_and_what_was_expected() {
        refuses(
            "source = 'digits'\nvalidation = 1437",
            "`data.validation` is 1437, expected less than the 1437 training images",
        );
        refuses(
            "source = 'digits'\nvalidation = 437\ntrain_limit = 1001",
            "`data.train_limit` is 1001, expected at most the 1000 images left after the \
             validation split",
        );
        refuses(
            "source = 'digits'\ntrain_limit = 0",
            "`data.train_limit` is 0, expected at least 1, or no such key for all",
        );
        refuses(
            "source = 'digits'\ntest_limit = 361",
            "`data.test_limit` is 361, expected at most the 360 test images",
        );
        refuses(
            "source = 'digits'\naugment = { crop_padding = 8 }",
            "`data.augment.crop_padding` is 8, expected less than 8, the smaller side of a 1x8x8 \
             image",
        );
        refuses(
            "source = 'digits'\naugment = { cutout = 9 }",
            "`data.augment.cutout` is 9, expected less than 8, the smaller side of a 1x8x8 image",
        );
        refuses(
            "source = 'digits'\nsynthetic = {}",
            "`data.synthetic` is given for the source `digits`, expected it only with the source \
             `synthetic`",
        );
        refuses(
            "source = 'synthetic'\nnormalisation = 'published'",
            "`data.normalisation` is published, expected another normalisation, since no \
             statistics of the source `synthetic` are published",
        );
        refuses(
            "source = 'folder'",
            "`data.folder` is missing, expected the table with `path` and `size` for the source \
             `folder`",
        );
        refuses(
            "source = 'digits'\nfolder = { path = 'x', size = [8, 8] }",
            "`data.folder` is given for the source `digits`, expected it only with the source \
             `folder`",
        );
        refuses(
            "source = 'folder'\nfolder = { path = 'x', size = [8, 2000] }",
            "`data.folder.size` is [8, 2000], expected a height and a width of 1 to 1024",
        );
        refuses(
            "source = 'folder'\nfolder = { path = 'x', size = [8, 8], channels = 2 }",
            "`data.folder.channels` is 2, expected 1 for grey or 3 for red, green and blue",
        );
        refuses(
            "source = 'folder'\nfolder = { path = '', size = [8, 8] }",
            "`data.folder.path` is empty, expected the folder that has `train` and `test`",
        );
        refuses(
            "source = 'cifar10'\nlabels = 'fine'",
            "`data.labels` is given for the source `cifar10`, expected it only with the source \
             `cifar100`",
        );
        refuses(
            "source = 'cifar10'",
            "data set `cifar10` is read from a directory, and no data directory is given",
        );
    }
}
