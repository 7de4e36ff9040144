//! `summary.json`: the result of a run. docs/summary.md explains each field, and
//! docs/summary.schema.json is the schema of the file.

mod stage;

use std::path::Path;
use std::process::Command;

use lasnn_datasets::{Dataset, Split};
use serde::{Serialize, Serializer};

use crate::program::Program;
use crate::stage::StageName;

pub use stage::{AtTimeSteps, ClassAccuracy, SpikingSummary, StageSummary};

/// The summary of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The name of the recipe.
    pub recipe: String,
    /// The seed of every random stream.
    pub seed: u32,
    /// The name of the backend.
    pub backend: &'static str,
    /// The threads of the CPU backends and of the data loader.
    pub threads: usize,
    /// The versions of the software.
    pub versions: Versions,
    /// The commit of the source tree.
    pub git: Git,
    /// The images.
    pub dataset: DatasetSummary,
    /// The results.
    pub stages: Stages,
}

/// The versions of the software.
#[derive(Clone, Debug, Serialize)]
pub struct Versions {
    /// The version of this program.
    pub lasnn: &'static str,
    /// The version of Burn, which the root manifest pins.
    pub burn: &'static str,
    /// A hash of the sources of the crates that compute.
    pub sources: String,
    /// The vector instructions of the CPU kernels on this processor.
    pub simd: String,
}

impl Versions {
    /// The versions of this build.
    pub fn here() -> Self {
        let Program { sources, simd } = Program::here();
        Self { lasnn: env!("CARGO_PKG_VERSION"), burn: env!("LASNN_BURN"), sources, simd }
    }
}

/// The commit of the source tree. Both values are null outside a repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Git {
    /// The hash of the commit.
    pub commit: Option<String>,
    /// Whether tracked files differed from the commit.
    pub dirty: Option<bool>,
}

impl Git {
    /// The commit of the repository around `folder`, from the program `git`. Without that program
    /// no commit is known.
    pub fn of(folder: &Path) -> Self {
        // The parent of a plain file name such as `recipe.toml` is the empty path.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let git = |arguments: &[&str]| {
            let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| text.trim().to_owned())
        };
        let commit = git(&["rev-parse", "HEAD"]);
        let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
        Self { dirty: commit.as_ref().and(changes).map(|changes| !changes.is_empty()), commit }
    }
}

/// The data set of a run and the number of images in each split.
#[derive(Clone, Debug, Serialize)]
pub struct DatasetSummary {
    /// The name of the data set.
    pub name: String,
    /// The number of training images.
    pub train: usize,
    /// The number of validation images. They are held out of the training set and choose the
    /// epoch.
    pub validation: usize,
    /// The number of test images. Every test accuracy is measured on all of them.
    pub test: usize,
    /// SHA-256 of the data.
    pub sha256: String,
}

impl DatasetSummary {
    /// Counts the images of each split.
    pub fn new(dataset: &Dataset, split: &Split) -> Self {
        Self {
            name: dataset.name.clone(),
            train: split.train.len(),
            validation: split.validation.len(),
            test: dataset.test.len(),
            sha256: dataset.sha256.clone(),
        }
    }
}

/// The results of the finished stages, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Stages(Vec<(StageName, StageSummary)>);

impl Stages {
    /// Records the result of a stage.
    pub fn set(&mut self, stage: &StageName, summary: StageSummary) {
        match self.0.iter_mut().find(|(known, _)| known == stage) {
            Some((_, known)) => *known = summary,
            None => self.0.push((stage.clone(), summary)),
        }
    }

    /// The finished stages in the order of a report.
    pub fn in_order(&self) -> Vec<(&StageName, &StageSummary)> {
        let mut all: Vec<_> = self.0.iter().map(|(stage, summary)| (stage, summary)).collect();
        all.sort_by_key(|(stage, summary)| stage.rank(summary.spiking.is_some()));
        all
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(stage, summary)| (stage.in_summary(), summary)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_the_names_of_the_schema_and_absent_stages_are_left_out() {
        let summary = |time_steps| StageSummary {
            network: "net".into(),
            parameters: 10,
            test_accuracy: 0.7,
            accuracy_by_class: Vec::new(),
            validation_accuracy: 0.5,
            epochs: 3,
            best_epoch: Some(1),
            last_test_accuracy: None,
            seconds: 1.0,
            reused: false,
            spiking: Some(SpikingSummary {
                time_steps,
                accuracy_by_step: vec![0.1, 0.7],
                firing_rate_by_layer: Vec::new(),
                spikes_per_image: 1.0,
                synops_per_image: 1.0,
                energy_pj_per_image: 1.0,
                ann_energy_pj_per_image: 1.0,
                at_time_steps: Vec::new(),
            }),
        };
        let mut stages = Stages::default();
        let longer: StageName = "longer".parse().unwrap();
        for (stage, time_steps) in [
            (&StageName::CONVERTED, 2),
            (&longer, 8),
            (&StageName::STUDENT, 3),
            (&StageName::CONTROL, 3),
            (&StageName::CONTROL, 4),
        ] {
            stages.set(stage, summary(time_steps));
        }
        let order: Vec<_> = stages.in_order().iter().map(|(stage, _)| stage.as_str()).collect();
        assert_eq!(order, ["converted", "control", "student", "longer"]);
        let json = serde_json::to_value(&stages).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().collect();
        keys.sort();
        let names = ["conversion", "longer", "student", "student_without_distillation"];
        assert_eq!(keys, names);
        assert_eq!(json["student_without_distillation"]["time_steps"], 4);
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
