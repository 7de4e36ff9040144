//! The input and the result of an estimate.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::purpose::{Breakdown, Purpose};
use super::size::{Size, elements};
use crate::recipe::{Plans, Recipe};
use crate::splits::Splits;

/// The size of the data set.
#[derive(Clone, Copy, Debug)]
pub struct DataSize {
    /// The number of training images.
    pub train: usize,
    /// The number of validation images.
    pub validation: usize,
    /// The number of test images.
    pub test: usize,
    /// The bytes of all pixels.
    pub pixels: Size,
}

/// The input of an estimate.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The networks.
    pub plans: &'a Plans,
    /// The size of the data set.
    pub data: DataSize,
    /// The number of threads.
    pub threads: usize,
    /// Whether a GPU computes. It runs spiking networks layer by layer.
    pub on_gpu: bool,
}

/// The memory of a stage at its peak.
#[derive(Clone, Debug)]
pub struct StageEstimate {
    /// The name of the stage.
    pub name: String,
    /// What a user can do if the stage needs too much memory.
    pub advice: String,
    /// Bytes by purpose.
    pub memory: Breakdown,
}

impl From<&Splits> for DataSize {
    fn from(splits: &Splits) -> Self {
        let summary = splits.summary();
        let dataset = &splits.dataset;
        let images = dataset.train.len() + dataset.test.len();
        Self {
            train: summary.train,
            validation: summary.validation,
            test: summary.test,
            pixels: elements(dataset.shape) * images,
        }
    }
}

impl StageEstimate {
    /// The bytes where the stage computes. On a GPU the program and its data are not there.
    pub fn bytes(&self, on_gpu: bool) -> Size {
        let elsewhere = if on_gpu { self.memory.of(Purpose::Process) } else { Size::ZERO };
        self.memory.total() - elsewhere
    }
}

impl Serialize for StageEstimate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stage = serializer.serialize_map(None)?;
        stage.serialize_entry("stage", &self.name)?;
        stage.serialize_entry("bytes", &self.memory.total())?;
        for purpose in Purpose::ALL {
            stage.serialize_entry(&purpose, &self.memory.of(purpose))?;
        }
        stage.end()
    }
}
