//! What a run writes to disk, and how it goes on from there.
//!
//! Two files in a directory of the stage's own:
//!
//! - `last.safetensors`: the network (`model.…`), the optimiser's state (`optimizer.…`) and
//!   [`Progress`]; enough to go on as if nothing had happened, for random draws follow from the
//!   seed and the position and have no state of their own,
//! - `best.safetensors`: the network of the best epoch so far, under its plain names.
//!
//! At the end of an epoch `last` is written first. Killed between the two writes, a run finds a
//! `last` whose best epoch is the one that it has just ended, so that the network in `last` is the
//! best one and can be copied. The other order would leave a `best` that the history of `last`
//! does not know.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use lasnn_backend::DenseBackend;
use lasnn_core::Seed;
use lasnn_nn::{StateDict, StateError, state};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::{Checkpoint, remove_unfinished};
use crate::config::TrainConfig;
use crate::error::{CheckpointError, TrainError};
use crate::optimizer::Optimizer;
use crate::record::{EpochRecord, Sums};

/// The file that a run goes on from.
pub const LAST: &str = "last.safetensors";

/// The file with the network of the best epoch.
pub const BEST: &str = "best.safetensors";

/// Raised when the meaning of the metadata changes, or what a resumed run would make of it.
/// Since version 2 milestones act on steps and not on whole epochs.
const FORMAT: u32 = 2;

/// What tells one run from another; the first part of both files' metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub format: u32,
    pub stage: String,
    pub fingerprint: String,
    pub seed: Seed,
    pub config: TrainConfig,
    pub steps_per_epoch: usize,
    /// What the caller wants kept with the network, for instance the recipe.
    pub recipe: Value,
}

/// The metadata of `last.safetensors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    pub run: Identity,
    /// The epoch in progress, counted from 0.
    pub epoch: u32,
    /// How many of its steps are done.
    pub step: usize,
    /// What its steps have come to.
    pub sums: Sums,
    pub optimizer_steps: u64,
    pub best_epoch: Option<u32>,
    pub history: Vec<EpochRecord>,
}

/// The metadata of `best.safetensors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    run: Identity,
    epoch: u32,
    validation_accuracy: f64,
}

impl Identity {
    pub fn new(
        stage: &str,
        fingerprint: &str,
        seed: Seed,
        config: &TrainConfig,
        steps_per_epoch: usize,
        recipe: Value,
    ) -> Self {
        Self {
            format: FORMAT,
            stage: stage.into(),
            fingerprint: fingerprint.into(),
            seed,
            config: config.clone(),
            steps_per_epoch,
            recipe,
        }
    }

    /// That a checkpoint of `self` may be resumed as `expected`. The recipe's text may differ,
    /// for what matters of it is in the fingerprint; so may the steps between checkpoints.
    fn check(&self, path: &Path, expected: &Self) -> Result<(), TrainError> {
        let pairs = |run: &Self| {
            let config = TrainConfig { checkpoint_steps: None, ..run.config.clone() };
            let mut pairs = vec![
                ("format version".to_owned(), run.format.to_string()),
                ("stage".into(), run.stage.clone()),
                ("fingerprint".into(), run.fingerprint.clone()),
                ("seed".into(), run.seed.0.to_string()),
                ("number of steps per epoch".into(), run.steps_per_epoch.to_string()),
            ];
            // Key by key, so that the message names the one that differs.
            let config = serde_json::json!(config);
            let keys = config.as_object().into_iter().flatten();
            pairs.extend(keys.map(|(key, value)| (format!("`{key}`"), value.to_string())));
            pairs
        };
        let (found, expected) = (pairs(self), pairs(expected));
        let missing = || "absent".to_owned();
        let of = |all: &[(String, String)], what: &str| {
            all.iter().find(|(name, _)| name == what).map_or_else(missing, |(_, v)| v.clone())
        };
        // The fingerprint is a hash of what the other lines name, so it comes last.
        let names = found.iter().chain(&expected).map(|(name, _)| name);
        let (last, first): (Vec<_>, Vec<_>) = names.partition(|name| *name == "fingerprint");
        for what in first.into_iter().chain(last) {
            let (found, expected) = (of(&found, what), of(&expected, what));
            if found != expected {
                let (path, what) = (path.into(), what.clone());
                return Err(TrainError::OtherRun { path, what, found, expected });
            }
        }
        Ok(())
    }
}

impl Progress {
    /// A run that has done nothing yet.
    pub fn new(run: Identity) -> Self {
        Self {
            run,
            epoch: 0,
            step: 0,
            sums: Sums::default(),
            optimizer_steps: 0,
            best_epoch: None,
            history: Vec::new(),
        }
    }

    /// That the numbers fit each other. A damaged file does not come this far, one that somebody
    /// has edited may.
    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let best_is_done = self.best_epoch.map_or(self.epoch == 0, |best| best < self.epoch);
        let all_are_done = self.history.len() as u64 == u64::from(self.epoch);
        if best_is_done && all_are_done && self.step <= self.run.steps_per_epoch {
            return Ok(());
        }
        Err(CheckpointError::Metadata {
            path: path.into(),
            reason: format!(
                "epoch {}, step {} and {} do not fit {} epochs of history",
                self.epoch,
                self.step,
                self.best_epoch.map_or("no best epoch".into(), |best| format!("best epoch {best}")),
                self.history.len()
            ),
        })
    }

    /// Counts a step of the epoch in progress.
    pub fn end_step(&mut self, sums: &Sums) {
        self.step += 1;
        self.optimizer_steps += 1;
        self.sums.add(sums);
    }

    /// Closes the epoch in progress. It becomes the best one if its validation accuracy is above
    /// all before; the first of equals stays.
    pub fn end_epoch(&mut self, record: EpochRecord) {
        let best = self.best_epoch.and_then(|epoch| self.history.get(epoch as usize));
        if best.is_none_or(|best| record.validation_accuracy > best.validation_accuracy) {
            self.best_epoch = Some(record.epoch);
        }
        self.history.push(record);
        self.epoch += 1;
        self.step = 0;
        self.sums = Sums::default();
    }

    /// Whether the epoch that has just ended, with nothing after it, is the best one.
    pub fn best_has_just_ended(&self) -> bool {
        self.step == 0 && self.best_epoch.is_some_and(|best| best + 1 == self.epoch)
    }
}

/// The directory with a run's two files.
pub(crate) struct Store {
    last: PathBuf,
    best: PathBuf,
}

impl Store {
    /// Makes the directory. Without `resume`, whatever run it held is gone, and so is a network
    /// that was left there without the state to go on from.
    pub fn open(directory: &Path, resume: bool) -> Result<Self, TrainError> {
        let io = |action, source| CheckpointError::Io { path: directory.into(), action, source };
        fs::create_dir_all(directory).map_err(|source| io("make the directory", source))?;
        remove_unfinished(directory)?;
        let store = Self { last: directory.join(LAST), best: directory.join(BEST) };
        if !resume || !store.last.exists() {
            for path in [&store.last, &store.best] {
                match fs::remove_file(path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(io("remove the checkpoint of another run", source).into());
                    }
                    _ => {}
                }
            }
        }
        Ok(store)
    }

    /// Writes everything that is needed to go on.
    pub fn save_last<B, M>(
        &self,
        model: &M,
        optimizer: &Optimizer<B::InnerBackend>,
        progress: &Progress,
    ) -> Result<(), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let mut checkpoint =
            Checkpoint { metadata: self.metadata(progress)?, ..Default::default() };
        checkpoint.put_section("model", state::save(&model.valid()));
        checkpoint.put_section("optimizer", optimizer.state());
        Ok(checkpoint.save(&self.last)?)
    }

    /// Saves the state of a run that was asked to stop; the error says where, or why it could not
    /// be saved.
    pub fn interrupt<B, M>(
        &self,
        model: &M,
        optimizer: &Optimizer<B::InnerBackend>,
        progress: &Progress,
    ) -> TrainError
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        match self.save_last(model, optimizer, progress) {
            Ok(()) => TrainError::Interrupted {
                path: self.last.clone(),
                epoch: progress.epoch,
                step: progress.step,
            },
            Err(error) => error,
        }
    }

    /// Writes the network of the epoch that has just ended.
    pub fn save_best<B, M>(&self, model: &M, progress: &Progress) -> Result<(), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let Some(record) = progress.history.last() else { return Ok(()) };
        let best = Best {
            run: progress.run.clone(),
            epoch: record.epoch,
            validation_accuracy: record.validation_accuracy,
        };
        let state = state::save(&model.valid());
        Ok(Checkpoint { state, metadata: self.metadata(&best)? }.save(&self.best)?)
    }

    fn metadata(&self, value: &impl Serialize) -> Result<Value, CheckpointError> {
        serde_json::to_value(value).map_err(|error| CheckpointError::Metadata {
            path: self.last.clone(),
            reason: error.to_string(),
        })
    }

    /// The network, the optimiser and the progress that the last checkpoint holds; those of a
    /// run that has done nothing if there is no checkpoint.
    pub fn resume<B, M>(
        &self,
        model: M,
        run: Identity,
        device: &B::Device,
    ) -> Result<(M, Optimizer<B::InnerBackend>, Progress), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let rule = run.config.optimizer.clone();
        let mut checkpoint = match Checkpoint::load(&self.last) {
            Err(CheckpointError::Missing { .. }) => {
                return Ok((model, Optimizer::new(rule), Progress::new(run)));
            }
            Err(error @ CheckpointError::Io { .. }) => return Err(error.into()),
            other => other.map_err(|source| TrainError::Damaged { source })?,
        };
        // The version first: metadata of another one may have another form.
        let format = &checkpoint.metadata["run"]["format"];
        if format.is_u64() && *format != run.format {
            return Err(TrainError::OtherRun {
                path: self.last.clone(),
                what: "format version".into(),
                found: format.to_string(),
                expected: run.format.to_string(),
            });
        }
        let metadata = checkpoint.metadata(&self.last);
        let mut progress: Progress = metadata.map_err(|source| TrainError::Damaged { source })?;
        progress.run.check(&self.last, &run)?;
        progress.check(&self.last).map_err(|source| TrainError::Damaged { source })?;
        progress.run = run;
        let wrong = |source| TrainError::State { path: self.last.clone(), source };
        let model = give(model, checkpoint.take_section("model")).map_err(wrong)?;
        let state = checkpoint.take_section("optimizer");
        let optimizer = Optimizer::restore(rule, progress.optimizer_steps, state, &model, device);
        if let Some(name) = checkpoint.state.into_keys().next() {
            return Err(wrong(StateError::Unknown { name }));
        }
        self.repair_best(&model, &progress)?;
        tracing::info!(
            stage = progress.run.stage,
            epoch = progress.epoch,
            step = progress.step,
            "resumed"
        );
        Ok((model, optimizer.map_err(wrong)?, progress))
    }

    /// Makes `best` agree with the history of `last`.
    fn repair_best<B, M>(&self, model: &M, progress: &Progress) -> Result<(), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let Some(expected) = progress.best_epoch else { return Ok(()) };
        match self.load_best(expected, &progress.run) {
            Ok(_) => Ok(()),
            Err(_) if progress.best_has_just_ended() => self.save_best(model, progress),
            Err(error) => Err(error),
        }
    }

    /// The network of the best epoch.
    pub fn load_best(&self, expected: u32, run: &Identity) -> Result<StateDict, TrainError> {
        let damaged = |source| TrainError::Damaged { source };
        let checkpoint = Checkpoint::load(&self.best).map_err(damaged)?;
        let best: Best = checkpoint.metadata(&self.best).map_err(damaged)?;
        best.run.check(&self.best, run)?;
        if best.epoch != expected {
            let found = format!("that of epoch {}", best.epoch);
            return Err(TrainError::BestLost { path: self.best.clone(), expected, found });
        }
        Ok(checkpoint.state)
    }
}

/// Gives `model` the tensors of `state`.
pub(crate) fn give<B, M>(model: M, state: StateDict) -> Result<M, StateError>
where
    B: AutodiffBackend<InnerBackend: DenseBackend>,
    M: AutodiffModule<B>,
{
    // A batch norm holds back its newest running statistics until somebody asks for them, and
    // would then put them over the ones just loaded. This asks.
    drop(model.valid());
    state::load(model, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which epoch is the best one when the validation accuracies are these.
    #[track_caller]
    fn check(accuracies: &[f64], expected: u32) {
        let config = serde_json::from_str(
            r#"{"epochs": 9, "batch": 1, "optimizer": {"kind": "sgd", "learning_rate": 1}}"#,
        );
        let run = Identity::new("teacher", "", Seed(0), &config.unwrap(), 1, Value::Null);
        let mut progress = Progress::new(run);
        for (epoch, &validation_accuracy) in (0..).zip(accuracies) {
            progress.end_epoch(EpochRecord {
                epoch,
                learning_rate: 0.1,
                train_loss: 0.0,
                train_accuracy: 0.0,
                loss_parts: Default::default(),
                validation_loss: 0.0,
                validation_accuracy,
                seconds: 0.0,
                images_per_second: 0.0,
            });
        }
        assert_eq!(progress.best_epoch, Some(expected));
        assert_eq!(progress.best_has_just_ended(), expected as usize + 1 == accuracies.len());
    }

    #[test]
    fn the_first_of_the_best_epochs_wins() {
        check(&[0.0, 0.0], 0);
        check(&[0.1, 0.5, 0.4], 1);
        check(&[0.1, 0.5, 0.5, 0.2], 1);
        check(&[0.1, 0.5, 0.5, 0.6], 3);
    }
}
