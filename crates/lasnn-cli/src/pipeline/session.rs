//! What the stages of a run share, and how a finished stage is kept and found again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lasnn_core::{Plan, StateDict};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::args::StageName;
use crate::cache;
use crate::data::Data;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::recipe::{Plans, Recipe};
use crate::report::percent;
use crate::run_dir::RunDir;
use crate::signals::Interrupted;
use crate::stored::{About, Conversion, FORMAT, Stored};
use crate::summary::{StageSummary, Stages};

/// A checkpoint that takes the place of a stage.
#[derive(Clone, Debug)]
pub struct Given {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
}

impl Given {
    /// The checkpoint in `path`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let content = std::fs::read(path)
            .map_err(|error| crate::failure::wrong(format_args!("{}: {error}", path.display())))?;
        let sha256 = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.into(), sha256 })
    }
}

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
            Stored::load(&file)?
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

    /// What is to be known about the network of a stage; training and conversion add to it.
    pub fn about(&self, stage: StageName, summary: StageSummary) -> About {
        let network = match stage {
            StageName::Teacher => &self.recipe.teacher.network,
            _ => &self.recipe.intermediate.network,
        };
        About {
            format: FORMAT,
            stage,
            network: network.clone(),
            image: self.data.dataset.shape,
            classes: self.data.dataset.classes,
            spiking: None,
            summary,
            history: Vec::new(),
            conversion: None,
        }
    }

    /// The plan of the network of a stage.
    pub fn plan(&self, stage: StageName) -> &Plan {
        match stage {
            StageName::Teacher => &self.plans.teacher,
            _ => &self.plans.student,
        }
    }

    /// The network of an earlier run, marked as reused.
    fn find(&self, stage: StageName, key: &str) -> Option<Stored> {
        let path = cache::path(self.runs, stage, key);
        if !self.reuse || !can_be_reused(stage) || !path.exists() {
            return None;
        }
        match Stored::load(&path) {
            Ok(mut found) if found.about.format == FORMAT => {
                found.about.summary.reused = true;
                Some(found)
            }
            Ok(_) => None,
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
        let accuracy = percent(about.summary.test_accuracy);
        self.progress.say(format!("{}: {accuracy} of the test images", stage.name()));
        tracing::info!(stage = stage.name(), test_accuracy = about.summary.test_accuracy, "done");
        self.stages.set(stage, about.summary.clone());
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
