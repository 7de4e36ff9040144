//! A recipe with all defaults filled in. The rest of the program uses this one.

use std::collections::BTreeMap;

use lasnn_conversion::ConversionConfig;
use lasnn_core::{Architecture, Seed};
use lasnn_datasets::DatasetConfig;
use lasnn_distillation::LossConfig;
use lasnn_models::{ActivationConfig, Init};
use lasnn_snn::{BatchNormConfig, SpikingConfig, WeightFormat};
use lasnn_training::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::stage::StageName;

/// One experiment. It is written as `recipe.toml` into the folder of the run, and that file is a
/// recipe again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// The name, which is also the name of the folder of its runs.
    pub name: String,
    /// The seed of all random numbers.
    pub seed: Seed,
    /// The images.
    pub data: DatasetConfig,
    /// The network that the student learns from. `None` if the recipe has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<AnnConfig>,
    /// The network that is converted into the student. Both have the same layers.
    pub intermediate: IntermediateConfig,
    /// Neurons and encoding of the spiking network.
    pub spiking: SpikingConfig,
    /// How the thresholds are balanced.
    pub conversion: ConversionConfig,
    /// The spiking network that is trained.
    pub student: StudentConfig,
    /// The stages that the recipe adds to the standard ones.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<StageName, AddedStage>,
    /// How networks are measured.
    pub evaluation: EvaluationConfig,
}

impl Recipe {
    /// The keys that limit the number of training images of a stage, with their values.
    pub fn train_limits(&self) -> Vec<(String, usize)> {
        let added = self.stages.iter().filter_map(|(name, stage)| match stage {
            AddedStage::Student(student) => {
                Some((format!("stages.{name}.train_limit"), student.train_limit?))
            }
            AddedStage::Ann(_) => None,
        });
        let student = self.student.train_limit.map(|limit| ("student.train_limit".into(), limit));
        student.into_iter().chain(added).collect()
    }

    /// The activation of the network of a stage. The neurons of a spiking network take its place;
    /// its value is then the default.
    pub fn activation_of(&self, stage: &StageName) -> ActivationConfig {
        let added = match self.stages.get(stage) {
            Some(AddedStage::Ann(ann)) => Some(ann.activation),
            Some(AddedStage::Student(_)) | None => None,
        };
        let standard = match stage.as_str() {
            "teacher" => self.teacher.as_ref().map(|teacher| teacher.activation),
            "intermediate" => Some(self.intermediate.activation),
            _ => None,
        };
        standard.or(added).unwrap_or_default()
    }
}

/// An ANN and its training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnConfig {
    /// The layers, with average pooling if `max_pool` says so.
    pub network: Architecture,
    /// What takes the place of maximum pooling.
    pub max_pool: MaxPool,
    /// How the weights are initialised.
    pub init: Init,
    /// The activation of all layers that have one.
    pub activation: ActivationConfig,
    /// How the network is trained.
    pub train: TrainConfig,
}

/// The network that is converted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntermediateConfig {
    /// The layers, which the student has, too, with average pooling if `max_pool` says so.
    pub network: Architecture,
    /// What takes the place of maximum pooling.
    pub max_pool: MaxPool,
    /// How the weights are initialised, also those of a student that starts at random.
    pub init: Init,
    /// The activation of all layers that have one.
    pub activation: ActivationConfig,
    /// How the network is trained. `None` if it is never converted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainConfig>,
}

/// What takes the place of the maximum pooling of an ANN before it is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaxPool {
    /// Nothing: the network has the layers of its description.
    #[default]
    Keep,
    /// Average pooling over the same windows, which a spiking network can have.
    Average,
}

impl MaxPool {
    /// The network that is built from a description.
    pub fn replaced(self, network: Architecture) -> Architecture {
        match self {
            Self::Keep => network,
            Self::Average => network.with_average_pooling(),
        }
    }
}

/// The student and its training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudentConfig {
    /// The network with which the training begins.
    pub start: StudentStart,
    /// The network that the student learns from. `None` is that of `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<StageName>,
    /// The threshold of every neuron of a student that starts at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The batch norms with which the network is trained, one after each convolution. They are
    /// folded afterwards. `None` means that it is trained without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNormConfig>,
    /// The number of time steps per image, in training and in tests.
    pub time_steps: usize,
    /// Whether the converted network is also trained without the losses that need a teacher, as a
    /// control.
    pub without_distillation: bool,
    /// The number of training images. `None` means all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// How the student is trained.
    pub train: TrainConfig,
    /// The losses that the student minimises, in the order in which they are added up.
    pub losses: Vec<LossConfig>,
}

/// The network with which the training of the student begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StudentStart {
    /// The converted network.
    #[default]
    Converted,
    /// A network whose weights are drawn.
    Random,
}

/// A stage that a recipe adds to the standard ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AddedStage {
    /// An ANN that a student can learn from.
    Ann(AnnConfig),
    /// A spiking network that is trained.
    Student(AddedStudent),
}

/// The training of a spiking network in `[stages]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddedStudent {
    /// The network with which the training begins.
    pub from: Start,
    /// The network that the student learns from. `None` is that of `[teacher]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<StageName>,
    /// The threshold of every neuron of a network that starts at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The batch norms with which the network is trained, one after each convolution. They are
    /// folded afterwards. `None` means that it is trained without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNormConfig>,
    /// The number of time steps per image, in training and in tests.
    pub time_steps: usize,
    /// The number of training images. `None` means all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// How the network is trained.
    pub train: TrainConfig,
    /// The losses that the network minimises, in the order in which they are added up.
    pub losses: Vec<LossConfig>,
}

/// The network with which the training of a spiking network begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StageName", into = "StageName")]
pub enum Start {
    /// A network whose weights are drawn.
    Random,
    /// The network of a stage.
    Stage(StageName),
}

impl Start {
    /// The stage that makes the network. `None` if its weights are drawn.
    pub fn stage(&self) -> Option<&StageName> {
        match self {
            Self::Random => None,
            Self::Stage(name) => Some(name),
        }
    }
}

impl From<StageName> for Start {
    fn from(name: StageName) -> Self {
        match name == StageName::RANDOM {
            true => Self::Random,
            false => Self::Stage(name),
        }
    }
}

impl From<Start> for StageName {
    fn from(start: Start) -> Self {
        match start {
            Start::Random => Self::RANDOM,
            Start::Stage(name) => name,
        }
    }
}

/// How networks are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Images per batch. The value changes speed and memory, but not the result.
    pub batch: usize,
    /// The converted network is also measured with each of these numbers of time steps.
    pub time_steps: Vec<usize>,
    /// If above 0, the converted network is also measured with each of its layers corrected over so
    /// many time steps, image by image (`lasnn_snn::offset`).
    pub offset_steps: usize,
    /// The format of the weights of spiking networks in tests.
    pub weights: WeightFormat,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { batch: 250, time_steps: Vec::new(), offset_steps: 0, weights: WeightFormat::F32 }
    }
}
