//! What the loop measures, and the observer that it calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The measurements of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The learning rate at the epoch's first step.
    pub learning_rate: f64,
    /// Mean loss per training image, measured while the network was trained.
    pub train_loss: f64,
    /// Share of training images that were classified correctly, measured while the network was
    /// trained, 0 to 1.
    pub train_accuracy: f64,
    /// Mean of each named part of the loss, before weighting.
    pub loss_parts: BTreeMap<String, f64>,
    /// Mean cross-entropy per validation image, after the epoch.
    pub validation_loss: f64,
    /// Share of validation images that are classified correctly, after the epoch, 0 to 1.
    pub validation_accuracy: f64,
    /// Wall-clock time of the epoch's steps and its validation, in seconds.
    pub seconds: f64,
    /// Training images per second, over the epoch's steps without validation.
    pub images_per_second: f64,
}

/// The position at which a run begins or resumes.
#[derive(Clone, Copy, Debug)]
pub struct Started<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The number of epochs of the whole run.
    pub epochs: u32,
    /// The number of steps of an epoch.
    pub steps: usize,
    /// The next epoch, counted from 0.
    pub epoch: u32,
    /// The next step of that epoch, counted from 0.
    pub step: usize,
    /// The learning rate of that step.
    pub learning_rate: f64,
    /// The records of the epochs that are done.
    pub history: &'a [EpochRecord],
}

/// The measurements of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepInfo {
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The step within the epoch, counted from 0.
    pub step: usize,
    /// The number of steps of the epoch.
    pub steps: usize,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The mean loss of the step's batch.
    pub loss: f64,
}

/// Gets the progress of a run. The default methods do nothing.
pub trait Observer {
    /// Called when the run begins or resumes.
    fn started(&mut self, _: Started<'_>) {}

    /// Called after each step.
    fn step(&mut self, _: StepInfo) {}

    /// Called before each batch of the validation: `done` of `images` images are measured.
    fn validation(&mut self, _done: u64, _images: u64) {}

    /// Called after each epoch, when its checkpoints are written. Its record is the last of
    /// `history`.
    fn epoch(&mut self, _history: &[EpochRecord]) {}
}

/// An observer that does nothing.
impl Observer for () {}

/// Sums over images: those of a batch, or those of an epoch so far.
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

    /// Divides a sum by the number of images.
    pub fn mean(&self, sum: f64) -> f64 {
        sum / self.images.max(1) as f64
    }

    /// The mean of each part of the loss over the images.
    pub fn mean_parts(&self) -> BTreeMap<String, f64> {
        self.parts.iter().map(|(name, &sum)| (name.clone(), self.mean(sum))).collect()
    }
}
