//! The learning rate over the course of a training.

use lasnn_core::Kind;
use serde::{Deserialize, Serialize};

use crate::config::check;
use crate::error::ConfigError;

/// The position of a step in the training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The number of epochs of the training.
    pub epochs: u32,
    /// The step within the epoch, counted from 0.
    pub step: usize,
    /// The number of steps of an epoch.
    pub steps: usize,
}

impl Position {
    /// The number of steps before this one, over all epochs.
    fn steps_before(self) -> f64 {
        f64::from(self.epoch) * self.steps as f64 + self.step as f64
    }

    /// The number of steps of the training, over all epochs.
    fn all_steps(self) -> f64 {
        f64::from(self.epochs) * self.steps as f64
    }
}

/// How the learning rate changes: a factor for each step, by which the initial learning rate is
/// multiplied.
///
/// A variant without keys has braces because serde accepts unknown keys beside a unit variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The learning rate is multiplied by `factor` at each milestone.
    Steps {
        /// Shares of all steps of the training, between 0 and 1 and ascending. A milestone acts
        /// from the first step on that has at least this share of all steps before it. The first
        /// step therefore always has the initial learning rate, however short the training is.
        #[serde(default = "default_milestones")]
        milestones: Vec<f64>,
        /// The factor at each milestone.
        #[serde(default = "default_factor")]
        factor: f64,
    },
    /// Half a cosine wave, `(1 + cos(π epoch / epochs)) / 2`, constant within an epoch. The factor
    /// would be 0 in the epoch after the last one.
    Cosine {},
    /// The initial learning rate at every step.
    Constant {},
}

fn default_milestones() -> Vec<f64> {
    vec![0.6, 0.8, 0.9]
}

fn default_factor() -> f64 {
    0.1
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Steps { milestones: default_milestones(), factor: default_factor() }
    }
}

impl Schedule {
    /// The names of all schedules, in the order of the variants.
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "steps",
            about: "the learning rate is multiplied by `factor` at each milestone",
            source: "Rathi et al. 2020 (hybrid training)",
        },
        Kind {
            name: "cosine",
            about: "half a cosine wave from the initial learning rate towards 0",
            source: "Loshchilov and Hutter 2017 (SGDR)",
        },
        Kind { name: "constant", about: "the initial learning rate at every step", source: "" },
    ];

    /// The factor at a position.
    pub fn factor(&self, at: Position) -> f64 {
        match self {
            Self::Steps { milestones, factor } => {
                let passed = milestones.iter().filter(|&&share| {
                    // 0.6 of 5 steps is 3, but 0.6 * 5.0 may be slightly more in floating point.
                    at.steps_before() + 1e-9 * at.all_steps() >= share * at.all_steps()
                });
                factor.powi(passed.count() as i32)
            }
            Self::Cosine {} => {
                let angle = std::f64::consts::PI * f64::from(at.epoch) / f64::from(at.epochs);
                0.5 * (1.0 + angle.cos())
            }
            Self::Constant {} => 1.0,
        }
    }

    /// Checks the constants.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let Self::Steps { milestones, factor } = self else { return Ok(()) };
        check(
            milestones.is_sorted() && milestones.iter().all(|&share| share > 0.0 && share < 1.0),
            "schedule.milestones",
            format!("{milestones:?}"),
            "shares of the training above 0 and below 1, ascending",
        )?;
        check(
            *factor > 0.0 && *factor <= 1.0,
            "schedule.factor",
            factor,
            "a number above 0, at most 1",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_its_kind() {
        let index = |schedule: &Schedule| match schedule {
            Schedule::Steps { .. } => 0,
            Schedule::Cosine {} => 1,
            Schedule::Constant {} => 2,
        };
        for (expected, kind) in Schedule::KINDS.iter().enumerate() {
            let table = serde_json::json!({"kind": kind.name});
            let schedule: Schedule = serde_json::from_value(table).unwrap();
            assert_eq!(index(&schedule), expected, "{}", kind.name);
        }
        assert_eq!(Schedule::KINDS.len(), 3, "as many as there are variants");
    }
}
