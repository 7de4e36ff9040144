//! A recipe as typed. Tables and keys may be missing.

use std::collections::BTreeMap;
use std::fmt;

use lasnn_conversion::ConversionConfig;
use lasnn_core::Architecture;
use lasnn_datasets::DatasetConfig;
use lasnn_distillation::LossConfig;
use lasnn_models::{ActivationConfig, Init};
use lasnn_snn::{BatchNormConfig, SpikingConfig};
use lasnn_training::TrainConfig;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::resolved::{EvaluationConfig, MaxPool, Start, StudentStart};
use crate::stage::StageName;

/// A recipe as typed.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecipe {
    pub name: String,
    #[serde(default)]
    pub seed: u32,
    pub data: DatasetConfig,
    pub teacher: Option<RawAnn>,
    pub intermediate: RawIntermediate,
    #[serde(default)]
    pub spiking: SpikingConfig,
    #[serde(default)]
    pub conversion: ConversionConfig,
    pub student: RawStudent,
    #[serde(default)]
    pub stages: BTreeMap<StageName, RawStage>,
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

/// `[teacher]`, or an ANN in `[stages]`, as typed.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAnn {
    pub network: RawNetwork,
    #[serde(default)]
    pub max_pool: MaxPool,
    #[serde(default)]
    pub init: Init,
    #[serde(default)]
    pub activation: ActivationConfig,
    pub train: TrainConfig,
}

/// `[intermediate]` as typed.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawIntermediate {
    pub network: RawNetwork,
    #[serde(default)]
    pub max_pool: MaxPool,
    #[serde(default)]
    pub init: Init,
    #[serde(default)]
    pub activation: ActivationConfig,
    pub train: Option<TrainConfig>,
}

/// A table of `[stages]` as typed.
#[derive(Debug, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RawStage {
    Ann(RawAnn),
    Student(RawAddedStudent),
}

/// A student in `[stages]` as typed.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAddedStudent {
    pub from: Start,
    pub teacher: Option<StageName>,
    pub threshold: Option<f64>,
    pub batch_norm: Option<BatchNormConfig>,
    pub time_steps: Option<usize>,
    pub train_limit: Option<usize>,
    pub train: TrainConfig,
    pub losses: Option<Vec<LossConfig>>,
}

/// `[student]` as typed.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStudent {
    #[serde(default)]
    pub start: StudentStart,
    pub teacher: Option<StageName>,
    pub threshold: Option<f64>,
    pub batch_norm: Option<BatchNormConfig>,
    pub time_steps: usize,
    #[serde(default)]
    pub without_distillation: bool,
    pub train_limit: Option<usize>,
    pub train: TrainConfig,
    #[serde(default = "LossConfig::paper")]
    pub losses: Vec<LossConfig>,
}

/// The name of a network of the zoo, or its layers.
#[derive(Debug)]
pub enum RawNetwork {
    Named(String),
    Inline(Architecture),
}

/// Written by hand, because an error of serde's untagged enums does not say which key is wrong.
impl<'de> Deserialize<'de> for RawNetwork {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NetworkVisitor)
    }
}

struct NetworkVisitor;

impl<'de> Visitor<'de> for NetworkVisitor {
    type Value = RawNetwork;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a network or a table with `name` and `layers`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<RawNetwork, E> {
        Ok(RawNetwork::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawNetwork, A::Error> {
        Architecture::deserialize(MapAccessDeserializer::new(map)).map(RawNetwork::Inline)
    }
}
