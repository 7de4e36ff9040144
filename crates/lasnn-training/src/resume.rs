//! The checkpoints of a run, and how the run resumes from them.
//!
//! A run has two files in a directory of its own:
//!
//! - `last.safetensors`: the network (`model.…`), the optimiser's state (`optimizer.…`) and the
//!   [`RunState`]. Random draws follow from the seed and the position and have no state, so a
//!   resumed run needs nothing else to continue as if it had not been interrupted.
//! - `best.safetensors`: the network of the best epoch so far, under its plain names.
//!
//! At the end of an epoch `last` is written first. If a run is killed between the two writes, and
//! the epoch was the best one so far, the network in `last` is the best one and is copied to `best`
//! on resuming. The other order would leave a `best` that the history in `last` does not know.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use lasnn_backend::DenseBackend;
use lasnn_nn::{StateDict, StateError, state};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::{Checkpoint, remove_unfinished};
use crate::error::{CheckpointError, TrainError};
use crate::identity::Identity;
use crate::optimizer::Optimizer;
use crate::record::{EpochRecord, Sums};

/// The file from which a run resumes.
pub const LAST: &str = "last.safetensors";

/// The file with the network of the best epoch.
pub const BEST: &str = "best.safetensors";

/// How far a run is; the metadata of `last.safetensors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunState {
    #[serde(rename = "run")]
    pub identity: Identity,
    /// The current epoch, counted from 0.
    pub epoch: u32,
    /// The number of its steps that are done.
    pub step: usize,
    /// Sums over its steps so far.
    pub sums: Sums,
    pub optimizer_steps: u64,
    pub best_epoch: Option<u32>,
    pub history: Vec<EpochRecord>,
}

/// The metadata of `best.safetensors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    #[serde(rename = "run")]
    identity: Identity,
    epoch: u32,
    validation_accuracy: f64,
}

impl RunState {
    /// A run that has done nothing yet.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            epoch: 0,
            step: 0,
            sums: Sums::default(),
            optimizer_steps: 0,
            best_epoch: None,
            history: Vec::new(),
        }
    }

    /// Checks that the numbers are consistent. The SHA-256 detects a damaged file before; this
    /// detects a file that somebody has edited.
    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let best_is_done = self.best_epoch.map_or(self.epoch == 0, |best| best < self.epoch);
        let all_are_done = self.history.len() as u64 == u64::from(self.epoch);
        if best_is_done && all_are_done && self.step <= self.identity.steps_per_epoch {
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

    /// Counts a step of the current epoch.
    pub fn end_step(&mut self, sums: &Sums) {
        self.step += 1;
        self.optimizer_steps += 1;
        self.sums.add(sums);
    }

    /// Ends the current epoch. It becomes the best one if its validation accuracy is higher than
    /// that of all earlier epochs.
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

    /// Whether an epoch has just ended, with no step after it, and is the best one.
    pub fn best_has_just_ended(&self) -> bool {
        self.step == 0 && self.best_epoch.is_some_and(|best| best + 1 == self.epoch)
    }
}

/// The directory of a run with its two files.
pub(crate) struct Store {
    last: PathBuf,
    best: PathBuf,
}

impl Store {
    /// Creates the directory if it is missing. Without `resume`, or if `last` is missing, removes
    /// the files of an earlier run.
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

    /// Writes everything that a resumed run needs.
    pub fn save_last<B, M>(
        &self,
        model: &M,
        optimizer: &Optimizer<B::InnerBackend>,
        state: &RunState,
    ) -> Result<(), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let mut checkpoint = Checkpoint { metadata: self.metadata(state)?, ..Default::default() };
        checkpoint.put_section("model", state::save(&model.valid()));
        checkpoint.put_section("optimizer", optimizer.state());
        Ok(checkpoint.save(&self.last)?)
    }

    /// Writes the state of a run that has to stop. Returns the error with which it stops: where it
    /// resumes, or why the state could not be written.
    pub fn interrupt<B, M>(
        &self,
        model: &M,
        optimizer: &Optimizer<B::InnerBackend>,
        state: &RunState,
    ) -> TrainError
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        match self.save_last(model, optimizer, state) {
            Ok(()) => TrainError::Interrupted {
                path: self.last.clone(),
                epoch: state.epoch,
                step: state.step,
            },
            Err(error) => error,
        }
    }

    /// Writes the network of the epoch that has just ended.
    pub fn save_best<B, M>(&self, model: &M, state: &RunState) -> Result<(), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let Some(record) = state.history.last() else { return Ok(()) };
        let best = Best {
            identity: state.identity.clone(),
            epoch: record.epoch,
            validation_accuracy: record.validation_accuracy,
        };
        let network = state::save(&model.valid());
        Ok(Checkpoint { state: network, metadata: self.metadata(&best)? }.save(&self.best)?)
    }

    fn metadata(&self, value: &impl Serialize) -> Result<Value, CheckpointError> {
        serde_json::to_value(value).map_err(|error| CheckpointError::Metadata {
            path: self.last.clone(),
            reason: error.to_string(),
        })
    }

    /// The network, the optimiser and the state of the run from the last checkpoint. Without a
    /// checkpoint the run is at its beginning.
    pub fn resume<B, M>(
        &self,
        model: M,
        identity: Identity,
        device: &B::Device,
    ) -> Result<(M, Optimizer<B::InnerBackend>, RunState), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let (rule, groups) = (identity.config.optimizer.clone(), identity.config.groups.clone());
        let mut checkpoint = match Checkpoint::load(&self.last) {
            Err(CheckpointError::Missing { .. }) => {
                let optimizer = Optimizer::new(rule).with_groups(groups);
                return Ok((model, optimizer, RunState::new(identity)));
            }
            Err(error @ CheckpointError::Io { .. }) => return Err(error.into()),
            other => other.map_err(|source| TrainError::Damaged { source })?,
        };
        // The version comes first, because metadata of another version may have other fields.
        let format = &checkpoint.metadata["run"]["format"];
        if format.is_u64() && *format != identity.format {
            return Err(TrainError::OtherRun {
                path: self.last.clone(),
                what: "format version".into(),
                found: format.to_string(),
                expected: identity.format.to_string(),
            });
        }
        let metadata = checkpoint.metadata(&self.last);
        let mut state: RunState = metadata.map_err(|source| TrainError::Damaged { source })?;
        state.identity.check(&self.last, &identity)?;
        state.check(&self.last).map_err(|source| TrainError::Damaged { source })?;
        state.identity = identity;
        let wrong = |source| TrainError::State { path: self.last.clone(), source };
        let model = load_network(model, checkpoint.take_section("model")).map_err(wrong)?;
        let slots = checkpoint.take_section("optimizer");
        let optimizer = Optimizer::restore(rule, state.optimizer_steps, slots, &model, device);
        if let Some(name) = checkpoint.state.into_keys().next() {
            return Err(wrong(StateError::Unknown { name }));
        }
        self.repair_best(&model, &state)?;
        tracing::info!(
            stage = state.identity.stage,
            epoch = state.epoch,
            step = state.step,
            "resumed"
        );
        Ok((model, optimizer.map_err(wrong)?.with_groups(groups), state))
    }

    /// Makes `best` agree with the history in `last`.
    fn repair_best<B, M>(&self, model: &M, state: &RunState) -> Result<(), TrainError>
    where
        B: AutodiffBackend<InnerBackend: DenseBackend>,
        M: AutodiffModule<B>,
    {
        let Some(expected) = state.best_epoch else { return Ok(()) };
        match self.load_best(expected, &state.identity) {
            Ok(_) => Ok(()),
            Err(_) if state.best_has_just_ended() => self.save_best(model, state),
            Err(error) => Err(error),
        }
    }

    /// The network of the best epoch.
    pub fn load_best(&self, expected: u32, identity: &Identity) -> Result<StateDict, TrainError> {
        let damaged = |source| TrainError::Damaged { source };
        let checkpoint = Checkpoint::load(&self.best).map_err(damaged)?;
        let best: Best = checkpoint.metadata(&self.best).map_err(damaged)?;
        best.identity.check(&self.best, identity)?;
        if best.epoch != expected {
            let found = format!("that of epoch {}", best.epoch);
            return Err(TrainError::BestLost { path: self.best.clone(), expected, found });
        }
        Ok(checkpoint.state)
    }
}

/// Loads the tensors of `state` into `model`.
pub(crate) fn load_network<B, M>(model: M, state: StateDict) -> Result<M, StateError>
where
    B: AutodiffBackend<InnerBackend: DenseBackend>,
    M: AutodiffModule<B>,
{
    // A batch norm holds updates of its running statistics back until they are read, and would
    // apply them over the statistics that are loaded here. Reading them first applies them now.
    drop(model.valid());
    state::load(model, state)
}

#[cfg(test)]
mod tests {
    use lasnn_core::Seed;

    use super::*;

    /// Checks which epoch is the best one, given the validation accuracies of all epochs.
    #[track_caller]
    fn check(accuracies: &[f64], expected: u32) {
        let config = serde_json::from_str(
            r#"{"epochs": 9, "batch": 1, "optimizer": {"kind": "sgd", "learning_rate": 1}}"#,
        );
        let identity = Identity::new("teacher", "", Seed(0), &config.unwrap(), 1, Value::Null);
        let mut state = RunState::new(identity);
        for (epoch, &validation_accuracy) in (0..).zip(accuracies) {
            state.end_epoch(EpochRecord {
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
        assert_eq!(state.best_epoch, Some(expected));
        assert_eq!(state.best_has_just_ended(), expected as usize + 1 == accuracies.len());
    }

    #[test]
    fn the_first_of_equally_good_epochs_is_the_best() {
        check(&[0.0, 0.0], 0);
        check(&[0.1, 0.5, 0.4], 1);
        check(&[0.1, 0.5, 0.5, 0.2], 1);
        check(&[0.1, 0.5, 0.5, 0.6], 3);
    }
}
