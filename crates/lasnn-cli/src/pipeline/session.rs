//! What the stages of a run share, and how a finished stage is kept and found again.

use std::path::Path;

use anyhow::Context;
use lasnn_core::{ClassCount, Plan};
use lasnn_nn::StateDict;
use lasnn_snn::images_at_once;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cache;
use crate::data::Data;
use crate::definition::Definition;
use crate::given::Given;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::recipe::{Plans, Recipe};
use crate::report::percent;
use crate::run_dir::RunDir;
use crate::signals::Interrupted;
use crate::stage::StageName;
use crate::stored::{About, Conversion, FORMAT, Stored, layout};
use crate::summary::{ClassAccuracy, StageSummary, Stages};

/// What the stages of a run share.
#[derive(Debug)]
pub struct Session<'a> {
    /// What to do.
    pub recipe: &'a Recipe,
    /// The networks fitted to the images.
    pub plans: &'a Plans,
    /// The images.
    pub data: &'a Data,
    /// What computes.
    pub backend: &'static str,
    /// Where runs and reusable networks are.
    pub runs: &'a Path,
    /// Where this run is.
    pub run: &'a RunDir,
    /// Whether networks of earlier runs may take the place of a stage.
    pub reuse: bool,
    /// A checkpoint in place of the teacher.
    pub teacher: Option<Given>,
    /// A checkpoint in place of the intermediate network.
    pub intermediate: Option<Given>,
    /// Who watches.
    pub progress: &'a Progress,
    /// What came out so far.
    pub stages: Stages,
    /// What every epoch came to.
    pub metrics: Metrics,
    /// What the conversion did to each layer.
    pub conversion: Option<Conversion>,
}

/// A network of a stage, and the hash of everything that made it.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// Its tensors.
    pub state: StateDict,
    /// The hash.
    pub key: String,
}

impl Session<'_> {
    /// The hash of what a stage is made from: `parts` and what all stages depend on.
    pub fn key(&self, stage: StageName, parts: impl Serialize) -> anyhow::Result<String> {
        Ok(cache::hash(&json!({
            "format": FORMAT,
            "stage": stage,
            "parts": parts,
            "data": self.recipe.data,
            // Its numbers are those of a given checkpoint where there is one.
            "normaliser": self.data.normaliser(),
            "dataset": self.data.dataset.sha256,
            "seed": self.recipe.seed,
            "backend": self.backend,
        }))?)
    }

    /// The network of a stage: from this run's folder if it was finished there, else from an
    /// earlier run that made it from the same, else made by `make`.
    ///
    /// # Errors
    ///
    /// Fails as `make` does, if a file cannot be written, and when a signal has come.
    pub fn obtain(
        &mut self,
        stage: StageName,
        key: String,
        make: impl FnOnce(&mut Self, &str) -> anyhow::Result<Stored>,
    ) -> anyhow::Result<Obtained> {
        Interrupted::check()?;
        let file = self.run.checkpoint(stage);
        let name = stage.name();
        let stored = if file.exists() {
            self.progress.say(format!("{name}: finished before the run was interrupted"));
            Stored::load(&file).map_err(|error| {
                let path = file.display();
                anyhow::anyhow!("{error:#}; remove it to have {path} made again by `--resume`")
            })?
        } else if let Some(found) = self.find(stage, &key) {
            self.progress.say(format!("{name}: reused from an earlier run"));
            found.save(&file)?;
            found
        } else {
            let made = make(self, &key)?;
            made.save(&file)?;
            if can_be_reused(stage) {
                made.save(&cache::path(self.runs, stage, &key))
                    .context("cannot keep the network for later runs")?;
            }
            made
        };
        self.take(stage, &stored)?;
        Ok(Obtained { state: stored.state, key })
    }

    /// What the checkpoints of a training say about where they come from.
    pub fn provenance(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.recipe)?)
    }

    /// What is to be known about the network of a stage that has these tensors; training and
    /// conversion add to it.
    pub fn about(&self, stage: StageName, state: &StateDict, summary: StageSummary) -> About {
        About {
            format: FORMAT,
            stage,
            definition: Definition::of(self.recipe, self.data, stage),
            layout: layout(state),
            summary: Some(summary),
            history: Vec::new(),
            conversion: None,
        }
    }

    /// The accuracy of each class by its name.
    pub fn by_class(&self, counts: &[ClassCount]) -> Vec<ClassAccuracy> {
        ClassAccuracy::all(&self.data.dataset.class_names, counts)
    }

    /// How many images are measured at once with the network of a stage.
    pub fn images_at_once(&self, stage: StageName) -> usize {
        let time_steps = if stage.is_spiking() { self.recipe.student.time_steps } else { 1 };
        images_at_once(self.plan(stage), time_steps, self.recipe.evaluation.batch)
    }

    /// The plan of the network of a stage.
    pub fn plan(&self, stage: StageName) -> &Plan {
        self.plans.of(stage)
    }

    /// The network of an earlier run, marked as reused.
    fn find(&self, stage: StageName, key: &str) -> Option<Stored> {
        let path = cache::path(self.runs, stage, key);
        if !self.reuse || !can_be_reused(stage) || !path.exists() {
            return None;
        }
        match Stored::load(&path) {
            Ok(mut found) => {
                found.about.summary.as_mut()?.reused = true;
                Some(found)
            }
            Err(error) => {
                // It can be made again, so a damaged copy is no reason to fail.
                tracing::warn!("not reused: {error:#}");
                None
            }
        }
    }

    /// Puts a finished stage into the run's records.
    fn take(&mut self, stage: StageName, stored: &Stored) -> anyhow::Result<()> {
        let about = &stored.about;
        if let Some(summary) = &about.summary {
            let accuracy = percent(summary.test_accuracy);
            self.progress.say(format!("{}: {accuracy} of the test images", stage.name()));
            tracing::info!(stage = stage.name(), test_accuracy = summary.test_accuracy, "done");
            self.stages.set(stage, summary.clone());
        }
        if !about.history.is_empty() {
            self.metrics.set(stage, &about.history);
            self.metrics.write(self.run)?;
        }
        if let Some(conversion) = &about.conversion {
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

/// A student is what a run is for, so it is always trained; the rest is where it starts from.
fn can_be_reused(stage: StageName) -> bool {
    !matches!(stage, StageName::Student | StageName::Control)
}
