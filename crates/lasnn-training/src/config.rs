//! The `train` table of a recipe.

use std::fmt::Display;

use lasnn_core::{Kind, Precision};
use serde::{Deserialize, Serialize};

use crate::adam::Adam;
use crate::error::ConfigError;
use crate::groups::Groups;
use crate::schedule::{Position, Schedule};
use crate::sgd::Sgd;

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The number of passes over the training images.
    pub epochs: u32,
    /// Images per step of the optimiser. The caller builds the source of the batches with it.
    pub batch: usize,
    /// Images per forward and backward pass, to bound memory; the whole batch by default.
    ///
    /// The gradients of a batch are the sum over its micro-batches, each weighted by its share of
    /// the images. Only rounding differs from the whole batch, except that a batch norm computes
    /// its statistics over the micro-batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// The number format of matrix products and convolutions while training. Validation uses `f32`.
    #[serde(default)]
    pub precision: Precision,
    /// The largest Euclidean norm of all gradients together. Gradients with a larger norm are
    /// scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The number of steps between two checkpoints within an epoch. Without it, checkpoints are
    /// written at the end of an epoch only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<u32>,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes over the training.
    #[serde(default)]
    pub schedule: Schedule,
    /// Learning rates and weight decays of kinds of parameters.
    #[serde(default, skip_serializing_if = "Groups::is_empty")]
    pub groups: Groups,
}

/// The update rule and its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam, AdamW or AMSGrad.
    Adam(Adam),
}

impl OptimizerConfig {
    /// The names of all optimisers, in the order of the variants.
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "sgd",
            about: "stochastic gradient descent with momentum, or Nesterov's",
            source: "PyTorch's SGD; Sutskever et al. 2013",
        },
        Kind {
            name: "adam",
            about: "Adam; AdamW with `decoupled`, AMSGrad with `amsgrad`",
            source: "PyTorch's Adam; Kingma and Ba 2015",
        },
    ];

    /// The initial learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::Adam(adam) => adam.learning_rate,
        }
    }

    /// The weight decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.weight_decay,
            Self::Adam(adam) => adam.weight_decay,
        }
    }

    /// Whether the weight decay acts on the parameters themselves.
    pub fn is_decoupled(&self) -> bool {
        match self {
            Self::Sgd(_) => false,
            Self::Adam(adam) => adam.decoupled,
        }
    }

    /// The same rule with another learning rate and another weight decay.
    pub fn with(self, learning_rate: f64, weight_decay: f64) -> Self {
        match self {
            Self::Sgd(sgd) => Self::Sgd(Sgd { learning_rate, weight_decay, ..sgd }),
            Self::Adam(adam) => Self::Adam(Adam { learning_rate, weight_decay, ..adam }),
        }
    }
}

impl TrainConfig {
    /// The factor of all initial learning rates at step `step` of epoch `epoch`, both counted from
    /// 0; an epoch has `steps` steps.
    pub fn schedule_factor(&self, epoch: u32, step: usize, steps: usize) -> f64 {
        self.schedule.factor(Position { epoch, epochs: self.epochs, step, steps })
    }

    /// The learning rate of the optimiser at step `step` of epoch `epoch`.
    pub fn learning_rate(&self, epoch: u32, step: usize, steps: usize) -> f64 {
        self.optimizer.learning_rate() * self.schedule_factor(epoch, step, steps)
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    ///
    /// Names the first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check(self.epochs >= 1, "epochs", self.epochs, "at least 1")?;
        check(self.batch >= 1, "batch", self.batch, "at least 1")?;
        if let Some(images) = self.micro_batch {
            let expected = format!("1 to `batch`, which is {}", self.batch);
            check((1..=self.batch).contains(&images), "micro_batch", images, &expected)?;
        }
        if let Some(norm) = self.clip_norm {
            check(positive(norm), "clip_norm", norm, "a number above 0")?;
        }
        if let Some(steps) = self.checkpoint_steps {
            check(steps >= 1, "checkpoint_steps", steps, "at least 1")?;
        }
        match &self.optimizer {
            OptimizerConfig::Sgd(sgd) => sgd.validate()?,
            OptimizerConfig::Adam(adam) => adam.validate()?,
        }
        self.schedule.validate()?;
        self.groups.validate()?;
        check(
            !self.optimizer.is_decoupled() || self.groups.have_decay(&self.optimizer),
            "optimizer.decoupled",
            true,
            "false where `optimizer.weight_decay` and that of every group is 0",
        )
    }
}

/// Returns an error about `key` unless `right`.
pub(crate) fn check(
    right: bool,
    key: &str,
    value: impl Display,
    expected: &str,
) -> Result<(), ConfigError> {
    if right {
        return Ok(());
    }
    Err(ConfigError { key: key.into(), value: value.to_string(), expected: expected.into() })
}

/// Whether `value` is finite and above 0, also after rounding to the kernels' single precision.
pub(crate) fn positive(value: f64) -> bool {
    (value as f32).is_finite() && value as f32 > 0.0
}

/// Whether `value` is finite and not below 0.
pub(crate) fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::{Group, ParamKind};

    fn parse(extra: &str) -> Result<TrainConfig, String> {
        let text = format!(
            r#"{{"epochs": 10, "batch": 8,
                 "optimizer": {{"kind": "sgd", "learning_rate": 0.1}}{extra}}}"#
        );
        let config: TrainConfig = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn defaults_are_those_in_the_documentation() {
        let config = parse("").unwrap();
        assert_eq!(config.optimizer, OptimizerConfig::Sgd(Sgd::new(0.1)));
        assert_eq!(
            config.schedule,
            Schedule::Steps { milestones: vec![0.6, 0.8, 0.9], factor: 0.1 }
        );
        let adam: OptimizerConfig =
            serde_json::from_str(r#"{"kind": "adam", "learning_rate": 0.001}"#).unwrap();
        assert_eq!(adam, OptimizerConfig::Adam(Adam::new(0.001)));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
    }

    #[test]
    fn every_name_is_read_as_its_kind() {
        let index = |optimizer: &OptimizerConfig| match optimizer {
            OptimizerConfig::Sgd(_) => 0,
            OptimizerConfig::Adam(_) => 1,
        };
        for (expected, kind) in OptimizerConfig::KINDS.iter().enumerate() {
            let table = serde_json::json!({"kind": kind.name, "learning_rate": 0.1});
            let optimizer: OptimizerConfig = serde_json::from_value(table).unwrap();
            assert_eq!(index(&optimizer), expected, "{}", kind.name);
        }
        assert_eq!(OptimizerConfig::KINDS.len(), 2, "as many as there are variants");
    }

    #[test]
    fn the_learning_rate_follows_the_schedule() {
        let config = parse("").unwrap();
        assert_eq!(config.learning_rate(5, 6, 7), 0.1);
        assert!((config.learning_rate(6, 0, 7) - 0.01).abs() < 1e-12);
    }

    /// If milestones were counted in whole epochs, they would act on the first step of a short
    /// training.
    #[test]
    fn short_trainings_begin_with_the_initial_learning_rate() {
        let rates = |epochs, steps| -> Vec<f64> {
            let config = TrainConfig { epochs, ..parse("").unwrap() };
            let all = (0..epochs).flat_map(|epoch| (0..steps).map(move |step| (epoch, step)));
            all.map(|(epoch, step)| config.learning_rate(epoch, step, steps)).collect()
        };
        let check = |epochs, steps, exponents: &[i32]| {
            let expected = exponents.iter().map(|&n| 0.1 * 0.1_f64.powi(n));
            for (found, expected) in rates(epochs, steps).into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{epochs} x {steps}: {found}");
            }
        };
        check(1, 1, &[0]);
        check(1, 10, &[0, 0, 0, 0, 0, 0, 1, 1, 2, 3]);
        check(2, 5, &[0, 0, 0, 0, 0, 0, 1, 1, 2, 3]);
        check(5, 2, &[0, 0, 0, 0, 0, 0, 1, 1, 2, 3]);
        check(3, 1, &[0, 0, 1]);
    }

    #[track_caller]
    fn refuses(extra: &str, expected: &str) {
        let error = parse(extra).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn unknown_keys_are_errors() {
        refuses(r#", "epoch": 3"#, "epoch");
        refuses(r#", "schedule": {"kind": "cosine", "factor": 0.1}"#, "factor");
        refuses(r#", "schedule": {"kind": "cosinus"}"#, "cosinus");
        let error = serde_json::from_str::<OptimizerConfig>(
            r#"{"kind": "sgd", "learning_rate": 1, "beta1": 0}"#,
        );
        assert!(error.unwrap_err().to_string().contains("beta1"));
    }

    #[test]
    fn values_out_of_range_are_errors() {
        refuses(r#", "micro_batch": 9"#, "`micro_batch` is 9, expected 1 to `batch`, which is 8");
        refuses(r#", "clip_norm": 0.0"#, "`clip_norm` is 0, expected a number above 0");
        refuses(r#", "checkpoint_steps": 0"#, "`checkpoint_steps` is 0, expected at least 1");
        refuses(
            r#", "schedule": {"kind": "steps", "milestones": [0.8, 0.6]}"#,
            "`schedule.milestones` is [0.8, 0.6], expected shares of the training above 0",
        );
        // 0 would act before the first step, 1 after the last step.
        for milestone in ["0.0", "1.0"] {
            let schedule =
                format!(r#", "schedule": {{"kind": "steps", "milestones": [{milestone}]}}"#);
            refuses(&schedule, "expected shares of the training above 0 and below 1");
        }
        let mut config = parse("").unwrap();
        config.optimizer = OptimizerConfig::Sgd(Sgd { momentum: 1.0, ..Sgd::new(0.1) });
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "`optimizer.momentum` is 1, expected 0 to below 1"
        );
        config.optimizer =
            OptimizerConfig::Sgd(Sgd { momentum: 0.0, nesterov: true, ..Sgd::new(0.1) });
        assert!(config.validate().unwrap_err().to_string().contains("optimizer.nesterov"));
        config.optimizer = OptimizerConfig::Adam(Adam { beta2: -0.1, ..Adam::new(0.1) });
        assert!(config.validate().unwrap_err().to_string().contains("optimizer.beta2"));
        let decoupled = Adam { decoupled: true, ..Adam::new(0.1) };
        config.optimizer = OptimizerConfig::Adam(decoupled.clone());
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("`optimizer.decoupled` is true, expected false"), "{error}");
        let decay = Group { weight_decay: Some(0.1), ..Group::default() };
        config.groups = [(ParamKind::Bias, decay)].into_iter().collect();
        assert_eq!(config.validate(), Ok(()), "a group has a decay");
        let none = Group { weight_decay: Some(0.0), ..Group::default() };
        let of_all = ParamKind::ALL.map(|kind| (kind, none));
        config.groups = of_all.into_iter().collect();
        config.optimizer = OptimizerConfig::Adam(Adam { weight_decay: 0.1, ..decoupled });
        assert!(config.validate().is_err(), "the groups take the decay away");
        config.groups = Groups::default();
        assert_eq!(config.validate(), Ok(()));
        config.optimizer = OptimizerConfig::Adam(Adam::new(f64::NAN));
        assert!(config.validate().unwrap_err().to_string().contains("learning_rate` is NaN"));
    }
}
