//! What distinguishes one run of training from another.
//!
//! A checkpoint is resumed only by the run that wrote it, or by one that trains the same network in
//! the same way.

use std::path::Path;

use lasnn_core::Seed;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::TrainConfig;
use crate::error::TrainError;

/// The version of the metadata. It is raised when the meaning of the metadata changes, or what a
/// resumed run does with it. Since version 2, milestones act on steps and not on whole epochs.
const FORMAT: u32 = 2;

/// The identity of a run; part of the metadata of both of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub format: u32,
    pub stage: String,
    pub fingerprint: String,
    pub seed: Seed,
    pub config: TrainConfig,
    pub steps_per_epoch: usize,
    /// JSON that the caller wants stored with the network, for instance the recipe.
    pub recipe: Value,
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

    /// Checks that a checkpoint of run `self` may be resumed by run `expected`.
    ///
    /// The recipe may differ, because the fingerprint stands for everything in it that affects the
    /// network. The number of steps between checkpoints may differ, too.
    pub fn check(&self, path: &Path, expected: &Self) -> Result<(), TrainError> {
        let pairs = |run: &Self| {
            let config = TrainConfig { checkpoint_steps: None, ..run.config.clone() };
            let mut pairs = vec![
                ("format version".to_owned(), run.format.to_string()),
                ("stage".into(), run.stage.clone()),
                ("fingerprint".into(), run.fingerprint.clone()),
                ("seed".into(), run.seed.0.to_string()),
                ("number of steps per epoch".into(), run.steps_per_epoch.to_string()),
            ];
            // Key by key, so that the message names the key that differs.
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
        // The fingerprint is a hash that says less than the other values, so it comes last.
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
