//! A recipe with every default filled in; all work is done from this one.

use lasnn_conversion::ConversionConfig;
use lasnn_core::{Architecture, Seed};
use lasnn_datasets::DatasetConfig;
use lasnn_distillation::DistillationConfig;
use lasnn_models::Init;
use lasnn_snn::{SpikingConfig, WeightFormat};
use lasnn_training::TrainConfig;
use serde::Serialize;

use crate::stage::StageName;

/// One experiment. Written as `recipe.toml` into the run's folder, where it can be read again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// Names the folder of its runs.
    pub name: String,
    /// Everything random follows from it.
    pub seed: Seed,
    /// The images.
    pub data: DatasetConfig,
    /// Stage 1.
    pub teacher: Ordinary,
    /// Stage 2, before the conversion; its network is also the student's.
    pub intermediate: Ordinary,
    /// What the spiking network's neurons, input and readout are.
    pub spiking: SpikingConfig,
    /// How thresholds are found.
    pub conversion: ConversionConfig,
    /// Stage 3.
    pub student: Student,
    /// How networks are measured.
    pub evaluation: Evaluation,
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

/// An ordinary network and its training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ordinary {
    /// The network.
    pub network: Architecture,
    /// How its weights begin.
    pub init: Init,
    /// How it is trained.
    pub train: TrainConfig,
}

/// The student and its training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Student {
    /// Steps simulated per image, in training and in tests.
    pub time_steps: usize,
    /// Also train the converted network by cross-entropy alone, with the same budget.
    pub without_distillation: bool,
    /// On how many of the training images; all of them by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// How it is trained.
    pub train: TrainConfig,
    /// How it is pulled to the teacher.
    pub distillation: DistillationConfig,
}

/// How networks are measured.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluation {
    /// Images per batch; changes speed and memory, not the result.
    pub batch: usize,
    /// The converted network is also measured with each of these numbers of steps.
    pub time_steps: Vec<usize>,
    /// How the weights of spiking networks are stored in tests.
    pub weights: WeightFormat,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { batch: 250, time_steps: Vec::new(), weights: WeightFormat::F32 }
    }
}
