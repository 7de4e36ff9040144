//! The state that the stages of a run share, and how a finished stage is stored and reused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lasnn_core::{ClassCount, Plan};
use lasnn_nn::StateDict;
use lasnn_snn::images_at_once;
use serde_json::{Value, json};

use super::outputs::{Outputs, StageOutput};
use super::stage::Stage;
use crate::artifact_cache;
use crate::definition::Definition;
use crate::device::TrainingBackend;
use crate::metrics::Metrics;
use crate::program::Program;
use crate::progress::Progress;
use crate::recipe::{Node, Plans, Recipe};
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
    /// Checkpoints in place of ANNs, by the stages that would train these.
    pub supplied: BTreeMap<StageName, SuppliedCheckpoint>,
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

impl<'a> Session<'a> {
    /// The plan of the network of a stage.
    pub fn plan(&self, node: &Node<'_>) -> &'a Plan {
        self.plans.of(node.name())
    }

    /// The hash of everything that determines the network of a stage: `parts`, and what all stages
    /// depend on.
    fn key(&self, stage: &StageName, parts: &Value) -> anyhow::Result<String> {
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
    /// else copied from the cache if an earlier run has made the same network, else made by the
    /// stage. `outputs` has the networks that the stage needs.
    ///
    /// # Errors
    ///
    /// Fails as the stage does, if a file cannot be read and written, and if a signal has come.
    pub fn run_or_reuse<A: TrainingBackend>(
        &mut self,
        stage: &dyn Stage<A>,
        outputs: &Outputs,
        device: &A::Device,
    ) -> anyhow::Result<StageOutput> {
        Interrupted::check()?;
        let name = stage.name();
        let key = self.key(name, &stage.key_parts(self, outputs)?)?;
        let file = self.run.checkpoint(name);
        let cached = stage.is_cached().then(|| artifact_cache::path(self.runs, name, &key));
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
        } else if let Some(found) = cached.as_deref().and_then(|path| self.find_cached(path)) {
            self.progress.say(format!("{name}: reused from an earlier run"));
            found.save(&file)?;
            found
        } else {
            let inputs: Vec<&str> = stage.inputs().into_iter().map(StageName::as_str).collect();
            tracing::info!(stage = name.as_str(), inputs = inputs.join(", "), "begins");
            let made = stage.run(self, outputs, &key, device)?;
            made.save(&file)?;
            if let Some(path) = &cached {
                made.save(path).context("cannot store the network for later runs")?;
            }
            made
        };
        self.supplied.remove(name);
        self.record(name, &artifact)?;
        Ok(StageOutput { state: artifact.state, key })
    }

    /// The resolved recipe as JSON. The checkpoints of a training contain it.
    pub fn recipe_as_json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.recipe)?)
    }

    /// The metadata of a stage's network. Trainings add their history and conversions their report.
    pub fn metadata(
        &self,
        node: &Node<'_>,
        state: &StateDict,
        summary: StageSummary,
    ) -> ArtifactMetadata {
        ArtifactMetadata {
            format: FORMAT,
            program: Some(Program::here()),
            stage: node.name().clone(),
            definition: Definition::of(self.recipe, self.splits, &node.network),
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
    pub fn images_at_once(&self, node: &Node<'_>) -> usize {
        images_at_once(self.plan(node), node.network.steps(), self.recipe.evaluation.batch)
    }

    /// The network of an earlier run in the file `path`, marked as reused.
    fn find_cached(&self, path: &Path) -> Option<StageArtifact> {
        if !self.reuse || !path.exists() {
            return None;
        }
        match StageArtifact::load(path) {
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
    fn record(&mut self, stage: &StageName, artifact: &StageArtifact) -> anyhow::Result<()> {
        let metadata = &artifact.metadata;
        if let Some(summary) = &metadata.summary {
            let accuracy = percent(summary.test_accuracy);
            self.progress.say(format!("{stage}: {accuracy} of the test images"));
            tracing::info!(stage = stage.as_str(), test_accuracy = summary.test_accuracy, "done");
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
