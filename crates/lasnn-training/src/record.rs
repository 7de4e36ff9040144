//! What the loop measures, and who is told about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The learning rate at the epoch's first step.
    pub learning_rate: f64,
    /// Mean loss per training image, while the network was learning.
    pub train_loss: f64,
    /// Share of training images that were classified rightly, while the network was learning.
    pub train_accuracy: f64,
    /// Mean of each named part of the loss, before weighting.
    pub loss_parts: BTreeMap<String, f64>,
    /// Mean cross-entropy on the validation split, after the epoch.
    pub validation_loss: f64,
    /// Share of validation images that are classified rightly, after the epoch.
    pub validation_accuracy: f64,
    /// Wall-clock time of the epoch's steps and its validation.
    pub seconds: f64,
    /// Training images per second of the epoch's steps.
    pub images_per_second: f64,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug)]
pub struct Started<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// How many epochs the whole run has.
    pub epochs: u32,
    /// How many steps an epoch has.
    pub steps: usize,
    /// The epoch that comes next, counted from 0; not 0 if the run was resumed.
    pub epoch: u32,
    /// The step of that epoch that comes next, counted from 0.
    pub step: usize,
    /// The learning rate of that step.
    pub learning_rate: f64,
    /// The epochs that are done.
    pub history: &'a [EpochRecord],
}

/// One step that is done.
#[derive(Clone, Copy, Debug)]
pub struct StepInfo {
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The step within the epoch, counted from 0.
    pub step: usize,
    /// How many steps the epoch has.
    pub steps: usize,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The loss of the step's batch.
    pub loss: f64,
}

/// Who is told how a run goes. Every method does nothing unless it is written.
pub trait Observer {
    /// The run begins, or goes on.
    fn started(&mut self, _: Started<'_>) {}

    /// A step is done.
    fn step(&mut self, _: StepInfo) {}

    /// So many of the validation images are measured.
    fn validation(&mut self, _done: u64, _images: u64) {}

    /// An epoch is done and its checkpoints are written; its record is the last of `history`.
    fn epoch(&mut self, _history: &[EpochRecord]) {}
}

/// Nobody.
impl Observer for () {}

/// Sums over the images of an epoch (or of a batch) so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sums {
    pub images: u64,
    pub correct: u64,
    pub loss: f64,
    pub parts: BTreeMap<String, f64>,
    pub seconds: f64,
}

impl Sums {
    /// Adds the sums of a batch.
    pub fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.correct += other.correct;
        self.loss += other.loss;
        self.seconds += other.seconds;
        for (name, value) in &other.parts {
            *self.parts.entry(name.clone()).or_default() += value;
        }
    }

    /// A sum as a mean over the images.
    pub fn mean(&self, sum: f64) -> f64 {
        sum / self.images.max(1) as f64
    }

    /// Each part's mean over the images.
    pub fn mean_parts(&self) -> BTreeMap<String, f64> {
        self.parts.iter().map(|(name, &sum)| (name.clone(), self.mean(sum))).collect()
    }
}
