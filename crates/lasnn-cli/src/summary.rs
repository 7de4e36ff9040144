//! `summary.json`: what a run found. docs/summary.md explains each field and
//! docs/summary.schema.json holds them.

use std::path::Path;
use std::process::Command;

use lasnn_core::{ClassCount, Plan};
use lasnn_snn::Simulation;
use serde::{Deserialize, Serialize};

use crate::stage::StageName;

/// The summary of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The recipe's name.
    pub recipe: String,
    /// The seed of every random stream.
    pub seed: u32,
    /// What computed.
    pub backend: &'static str,
    /// Threads of the CPU backends and of the data loader.
    pub threads: usize,
    /// What software.
    pub versions: Versions,
    /// What source.
    pub git: Git,
    /// What images.
    pub dataset: DatasetSummary,
    /// What came out.
    pub stages: Stages,
}

/// Crate versions.
#[derive(Clone, Debug, Serialize)]
pub struct Versions {
    /// This program.
    pub lasnn: &'static str,
    /// The library it computes with, pinned in the root manifest.
    pub burn: &'static str,
}

impl Versions {
    /// Those of this build.
    pub const HERE: Self = Self { lasnn: env!("CARGO_PKG_VERSION"), burn: "0.21.0" };
}

/// The commit of the source tree; nulls outside a repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Git {
    /// Its hash.
    pub commit: Option<String>,
    /// Whether tracked files differed from it.
    pub dirty: Option<bool>,
}

impl Git {
    /// Asks the program `git` about `folder`; a machine without it knows no commit.
    pub fn of(folder: &Path) -> Self {
        // The folder of `recipe.toml` is the empty path.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let ask = |arguments: &[&str]| {
            let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| text.trim().to_owned())
        };
        let commit = ask(&["rev-parse", "HEAD"]);
        let changes = ask(&["status", "--porcelain", "--untracked-files=no"]);
        Self { dirty: commit.as_ref().and(changes).map(|changes| !changes.is_empty()), commit }
    }
}

/// The images of a run.
#[derive(Clone, Debug, Serialize)]
pub struct DatasetSummary {
    /// The source's name.
    pub name: String,
    /// Images trained on.
    pub train: usize,
    /// Images held out of the training set, which choose the epoch.
    pub validation: usize,
    /// Images behind every test accuracy.
    pub test: usize,
    /// SHA-256 of the data.
    pub sha256: String,
}

/// The stages that ran. A command for one stage leaves the others out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stages {
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher: Option<StageSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intermediate: Option<StageSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion: Option<StageSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    student: Option<StageSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    student_without_distillation: Option<StageSummary>,
}

impl Stages {
    /// Takes the result of a stage.
    pub fn set(&mut self, stage: StageName, summary: StageSummary) {
        *self.slot(stage) = Some(summary);
    }

    /// The stages that ran, in the order of the report.
    pub fn all(&self) -> impl Iterator<Item = (StageName, &StageSummary)> {
        [
            (StageName::Teacher, &self.teacher),
            (StageName::Intermediate, &self.intermediate),
            (StageName::Converted, &self.conversion),
            (StageName::Control, &self.student_without_distillation),
            (StageName::Student, &self.student),
        ]
        .into_iter()
        .filter_map(|(stage, summary)| Some((stage, summary.as_ref()?)))
    }

    fn slot(&mut self, stage: StageName) -> &mut Option<StageSummary> {
        match stage {
            StageName::Teacher => &mut self.teacher,
            StageName::Intermediate => &mut self.intermediate,
            StageName::Converted => &mut self.conversion,
            StageName::Student => &mut self.student,
            StageName::Control => &mut self.student_without_distillation,
        }
    }
}

/// The result of one stage. Kept in the stage's checkpoint too, so that a reused network brings
/// its numbers along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// The name of the architecture.
    pub network: String,
    /// Trainable numbers.
    pub parameters: usize,
    /// Share of the test images classified correctly, with the weights of the chosen epoch.
    pub test_accuracy: f64,
    /// The test accuracy of each class.
    pub accuracy_by_class: Vec<ClassAccuracy>,
    /// The same on the validation images.
    pub validation_accuracy: f64,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch whose weights were kept, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_epoch: Option<usize>,
    /// The test accuracy with the weights of the last epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test_accuracy: Option<f64>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Whether the result came from an earlier run.
    pub reused: bool,
    /// What only a spiking network has.
    #[serde(flatten)]
    pub spiking: Option<SpikingSummary>,
}

/// The test accuracy of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// The name of the class.
    pub class: String,
    /// Its test images.
    pub images: u64,
    /// Share of them classified correctly; null if there is none.
    pub accuracy: Option<f64>,
}

impl ClassAccuracy {
    /// The counts of all classes with their names.
    pub fn all(names: &[String], counts: &[ClassCount]) -> Vec<Self> {
        let named = names.iter().zip(counts);
        let one = |(name, count): (&String, &ClassCount)| Self {
            class: name.clone(),
            images: count.images,
            accuracy: count.accuracy(),
        };
        named.map(one).collect()
    }
}

/// What only a spiking network has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikingSummary {
    /// Steps simulated per image.
    pub time_steps: usize,
    /// Test accuracy when the readout is taken after each step.
    pub accuracy_by_step: Vec<f64>,
    /// Mean over neurons, steps and test images.
    pub firing_rate_by_layer: Vec<LayerRate>,
    /// Spikes of all layers in all steps.
    pub spikes_per_image: f64,
    /// Additions caused by spikes.
    pub synops_per_image: f64,
    /// The estimate of docs/summary.md.
    pub energy_pj_per_image: f64,
    /// The same estimate for the ordinary network of the same architecture.
    pub ann_energy_pj_per_image: f64,
    /// The same network over other numbers of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_time_steps: Vec<AtTimeSteps>,
}

/// The firing rate of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRate {
    /// The layer.
    pub layer: String,
    /// Spikes per neuron and step.
    pub rate: f64,
}

/// A spiking network over another number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtTimeSteps {
    /// Steps simulated per image.
    pub time_steps: usize,
    /// Share of the test images classified correctly.
    pub test_accuracy: f64,
    /// Spikes of all layers in all steps.
    pub spikes_per_image: f64,
    /// Additions caused by spikes.
    pub synops_per_image: f64,
    /// The estimate of docs/summary.md.
    pub energy_pj_per_image: f64,
}

impl SpikingSummary {
    /// What a simulation of a network found.
    pub fn new(simulation: &Simulation, time_steps: usize, plan: &Plan) -> Self {
        let rate = |layer: &lasnn_snn::LayerRate| LayerRate {
            layer: layer.layer.clone(),
            rate: layer.rate,
        };
        Self {
            time_steps,
            accuracy_by_step: simulation.accuracy_by_step.clone(),
            firing_rate_by_layer: simulation.firing_rate_by_layer.iter().map(rate).collect(),
            spikes_per_image: simulation.spikes_per_image,
            synops_per_image: simulation.synops_per_image,
            energy_pj_per_image: simulation.energy_pj_per_image,
            ann_energy_pj_per_image: lasnn_snn::ann_energy_pj(plan),
            at_time_steps: Vec::new(),
        }
    }

    /// The accuracy after the last step.
    pub fn test_accuracy(&self) -> f64 {
        self.accuracy_by_step.last().copied().unwrap_or_default()
    }
}

impl AtTimeSteps {
    /// What a simulation over `time_steps` found.
    pub fn new(simulation: &Simulation, time_steps: usize) -> Self {
        Self {
            time_steps,
            test_accuracy: simulation.accuracy,
            spikes_per_image: simulation.spikes_per_image,
            synops_per_image: simulation.synops_per_image,
            energy_pj_per_image: simulation.energy_pj_per_image,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordinary() -> StageSummary {
        StageSummary {
            network: "net".into(),
            parameters: 10,
            test_accuracy: 0.1 + 0.2,
            accuracy_by_class: vec![ClassAccuracy {
                class: "ant".into(),
                images: 3,
                accuracy: Some(1.0 / 3.0),
            }],
            validation_accuracy: 2.0 / 3.0,
            epochs: 3,
            best_epoch: Some(1),
            last_test_accuracy: None,
            seconds: 1.0 / 7.0,
            reused: false,
            spiking: None,
        }
    }

    fn spiking() -> StageSummary {
        let spiking = SpikingSummary {
            time_steps: 2,
            accuracy_by_step: vec![0.1, 0.7],
            firing_rate_by_layer: vec![LayerRate { layer: "layers.0".into(), rate: 1.0 / 3.0 }],
            spikes_per_image: 1_419.949_999_999_999_8,
            synops_per_image: 5e5,
            energy_pj_per_image: 4.5e5,
            ann_energy_pj_per_image: 2.2e6,
            at_time_steps: Vec::new(),
        };
        StageSummary { spiking: Some(spiking), ..ordinary() }
    }

    /// A resumed run reads its finished stages back and must end with the same numbers.
    #[test]
    fn a_stage_survives_writing_and_reading_to_the_last_bit() {
        for stage in [ordinary(), spiking()] {
            let text = serde_json::to_string(&stage).unwrap();
            assert_eq!(serde_json::from_str::<StageSummary>(&text).unwrap(), stage, "{text}");
        }
    }

    #[test]
    fn stages_have_the_names_of_the_schema_and_absent_ones_are_left_out() {
        let mut stages = Stages::default();
        stages.set(StageName::Control, spiking());
        stages.set(StageName::Converted, spiking());
        let json = serde_json::to_value(&stages).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["conversion", "student_without_distillation"]);
        assert_eq!(json["conversion"]["time_steps"], 2);
        assert!(json["conversion"].get("last_test_accuracy").is_none());
    }

    #[test]
    fn a_folder_outside_a_repository_has_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::of(folder.path());
        assert_eq!((git.commit, git.dirty), (None, None));
    }
}
