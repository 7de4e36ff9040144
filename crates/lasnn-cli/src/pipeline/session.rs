//! The state that the stages of a run share, and how a finished stage is stored and reused.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lasnn_core::{ClassCount, Plan};
use lasnn_nn::StateDict;
use lasnn_snn::images_at_once;
use serde::Serialize;
use serde_json::{Value, json};

use crate::artifact_cache;
use crate::definition::Definition;
use crate::metrics::Metrics;
use crate::program::Program;
use crate::progress::Progress;
use crate::recipe::{Plans, Recipe};
use crate::run_dir::RunDir;
use crate::signals::Interrupted;
use crate::splits::Splits;
use crate::stage::StageName;
use crate::stage_artifact::{ArtifactMetadata, Conversion, FORMAT, StageArtifact, layout};
use crate::summary::{ClassAccuracy, StageSummary, Stages};
use crate::supplied::SuppliedCheckpoint;
use crate::tables::percent;

/// The state that the stages of a run share.
#[derive(Debug)]
pub struct Session<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The networks, planned for the shape of the images.
    pub plans: &'a Plans,
    /// The images.
    pub splits: &'a Splits,
    /// The name of the backend.
    pub backend: &'static str,
    /// The folder of runs, which also contains the cache.
    pub runs: &'a Path,
    /// The folder of this run.
    pub run: &'a RunDir,
    /// Whether networks of earlier runs may be reused.
    pub reuse: bool,
    /// A checkpoint in place of the teacher.
    pub teacher: Option<SuppliedCheckpoint>,
    /// A checkpoint in place of the intermediate network.
    pub intermediate: Option<SuppliedCheckpoint>,
    /// Where progress is shown.
    pub progress: &'a Progress,
    /// The results of the finished stages.
    pub stages: Stages,
    /// The epochs of the finished and the current stage.
    pub metrics: Metrics,
    /// The report of the conversion.
    pub conversion: Option<Conversion>,
}

/// A stage of this run was finished by a program that may compute other numbers.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} was made by {}, expected {}; the numbers of one run must come from one program, so start a \
     new run without `--resume`",
    path.display(),
    found.as_ref().map_or("an unknown version of lasnn".into(), ToString::to_string),
    Program::here()
)]
pub struct OtherProgram {
    path: PathBuf,
    found: Option<Program>,
}

/// The network of a finished stage.
#[derive(Clone, Debug)]
pub struct StageOutput {
    /// The tensors.
    pub state: StateDict,
    /// The hash of everything that determines the network.
    pub key: String,
}

impl Session<'_> {
    /// The hash of everything that determines the network of a stage: `parts`, and what all stages
    /// depend on.
    pub fn key(&self, stage: StageName, parts: impl Serialize) -> anyhow::Result<String> {
        Ok(artifact_cache::hash(&json!({
            "format": FORMAT,
            "program": Program::here(),
            "stage": stage,
            "parts": parts,
            "data": self.recipe.data,
            // The numbers may be those of a supplied checkpoint.
            "normaliser": self.splits.normaliser(),
            "dataset": self.splits.dataset.sha256,
            "seed": self.recipe.seed,
            "backend": self.backend,
        }))?)
    }

    /// The network of a stage. It is read from this run's folder if the stage was finished there,
    /// else copied from the cache if an earlier run has made the same network, else made by `run`.
    ///
    /// # Errors
    ///
    /// Fails as `run` does, if a file cannot be read or written, and if a signal has come.
    pub fn run_or_reuse(
        &mut self,
        stage: StageName,
        key: String,
        run: impl FnOnce(&mut Self, &str) -> anyhow::Result<StageArtifact>,
    ) -> anyhow::Result<StageOutput> {
        Interrupted::check()?;
        let file = self.run.checkpoint(stage);
        let name = stage.name();
        let artifact = if file.exists() {
            self.progress.say(format!("{name}: finished before the run was interrupted"));
            let artifact = StageArtifact::load(&file).map_err(|error| {
                let path = file.display();
                anyhow::anyhow!("{error:#}; remove it, and `--resume` will make {path} again")
            })?;
            if artifact.metadata.program.as_ref() != Some(&Program::here()) {
                return Err(OtherProgram { path: file, found: artifact.metadata.program }.into());
            }
            artifact
        } else if let Some(found) = self.find_cached(stage, &key) {
            self.progress.say(format!("{name}: reused from an earlier run"));
            found.save(&file)?;
            found
        } else {
            let made = run(self, &key)?;
            made.save(&file)?;
            if is_cached(stage) {
                made.save(&artifact_cache::path(self.runs, stage, &key))
                    .context("cannot store the network for later runs")?;
            }
            made
        };
        self.record(stage, &artifact)?;
        Ok(StageOutput { state: artifact.state, key })
    }

    /// The resolved recipe as JSON. The checkpoints of a training contain it.
    pub fn recipe_as_json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.recipe)?)
    }

    /// The metadata of a stage's network. Trainings add their history and conversions their report.
    pub fn metadata(
        &self,
        stage: StageName,
        state: &StateDict,
        summary: StageSummary,
    ) -> ArtifactMetadata {
        ArtifactMetadata {
            format: FORMAT,
            program: Some(Program::here()),
            stage,
            definition: Definition::of(self.recipe, self.splits, stage),
            layout: layout(state),
            summary: Some(summary),
            history: Vec::new(),
            conversion: None,
        }
    }

    /// The accuracies of all classes with their names.
    pub fn by_class(&self, counts: &[ClassCount]) -> Vec<ClassAccuracy> {
        ClassAccuracy::all(&self.splits.dataset.class_names, counts)
    }

    /// The number of images that are measured at once with the network of a stage.
    pub fn images_at_once(&self, stage: StageName) -> usize {
        let time_steps = if stage.is_spiking() { self.recipe.student.time_steps } else { 1 };
        images_at_once(self.plan(stage), time_steps, self.recipe.evaluation.batch)
    }

    /// The plan of the network of a stage.
    pub fn plan(&self, stage: StageName) -> &Plan {
        self.plans.of(stage)
    }

    /// The network of an earlier run, marked as reused.
    fn find_cached(&self, stage: StageName, key: &str) -> Option<StageArtifact> {
        let path = artifact_cache::path(self.runs, stage, key);
        if !self.reuse || !is_cached(stage) || !path.exists() {
            return None;
        }
        match StageArtifact::load(&path) {
            Ok(mut found) => {
                found.metadata.summary.as_mut()?.reused = true;
                Some(found)
            }
            Err(error) => {
                // The network can be made again, so a damaged file in the cache is no failure.
                tracing::warn!("not reused: {error:#}");
                None
            }
        }
    }

    /// Adds a finished stage to the results of the run.
    fn record(&mut self, stage: StageName, artifact: &StageArtifact) -> anyhow::Result<()> {
        let metadata = &artifact.metadata;
        if let Some(summary) = &metadata.summary {
            let accuracy = percent(summary.test_accuracy);
            self.progress.say(format!("{}: {accuracy} of the test images", stage.name()));
            tracing::info!(stage = stage.name(), test_accuracy = summary.test_accuracy, "done");
            self.stages.set(stage, summary.clone());
        }
        if !metadata.history.is_empty() {
            self.metrics.set(stage, &metadata.history);
            self.metrics.write(self.run)?;
        }
        if let Some(conversion) = &metadata.conversion {
            let text = serde_json::to_string_pretty(conversion)?;
            self.run.write("conversion.json", &text)?;
            for warning in &conversion.warnings {
                tracing::warn!("{warning}");
            }
            self.conversion = Some(conversion.clone());
        }
        Ok(())
    }
}

/// Whether later runs may reuse the network of a stage. The student is what a run is made for, so
/// it is trained in each run.
fn is_cached(stage: StageName) -> bool {
    !matches!(stage, StageName::Student | StageName::Control)
}
