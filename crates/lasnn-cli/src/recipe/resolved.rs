//! A recipe with all defaults filled in. The rest of the program uses this one.

use lasnn_conversion::ConversionConfig;
use lasnn_core::{Architecture, Seed};
use lasnn_datasets::DatasetConfig;
use lasnn_distillation::LossConfig;
use lasnn_models::Init;
use lasnn_snn::{SpikingConfig, WeightFormat};
use lasnn_training::TrainConfig;
use serde::Serialize;

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
    /// The network that the student learns from.
    pub teacher: AnnConfig,
    /// The network that is converted into the student. Both have the same layers.
    pub intermediate: AnnConfig,
    /// Neurons and encoding of the spiking network.
    pub spiking: SpikingConfig,
    /// How the thresholds are balanced.
    pub conversion: ConversionConfig,
    /// The spiking network that is trained.
    pub student: StudentConfig,
    /// How networks are measured.
    pub evaluation: EvaluationConfig,
}

impl Recipe {
    /// The layers of the network of a stage.
    pub fn network(&self, stage: StageName) -> &Architecture {
        match stage {
            StageName::Teacher => &self.teacher.network,
            _ => &self.intermediate.network,
        }
    }
}

/// An ANN and its training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnConfig {
    /// The layers.
    pub network: Architecture,
    /// How the weights are initialised.
    pub init: Init,
    /// How the network is trained.
    pub train: TrainConfig,
}

/// The student and its training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudentConfig {
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

/// How networks are measured.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Images per batch. The value changes speed and memory, but not the result.
    pub batch: usize,
    /// The converted network is also measured with each of these numbers of time steps.
    pub time_steps: Vec<usize>,
    /// The format of the weights of spiking networks in tests.
    pub weights: WeightFormat,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { batch: 250, time_steps: Vec::new(), weights: WeightFormat::F32 }
    }
}
