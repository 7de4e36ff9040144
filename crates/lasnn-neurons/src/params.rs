//! The parameters of neurons in a recipe: their values, who shares them, and whether they are
//! trained.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The leak of all layers. Every layer has a leak of its own if it is trained.
///
/// In a recipe it is a number, or a table with `value` or `time_constant`, and `train`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakConfig {
    /// The factor `λ` by which the membrane potential decays in a step; above 0 and at most 1. With
    /// 1 the neuron is an integrate-and-fire (IF) neuron, below 1 a leaky one (LIF).
    pub value: f64,
    /// Whether the leak is trained.
    pub train: bool,
}

impl Default for LeakConfig {
    fn default() -> Self {
        1.0.into()
    }
}

impl From<f64> for LeakConfig {
    fn from(value: f64) -> Self {
        Self { value, train: false }
    }
}

/// The table of a leak. `λ = 1 - 1 / time_constant`, as in SpikingJelly, where it is called `tau`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeakTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_constant: Option<f64>,
    #[serde(default)]
    train: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrTable {
    Number(f64),
    Table(LeakTable),
}

impl<'de> Deserialize<'de> for LeakConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = NumberOrTable::deserialize(deserializer).map_err(|_| {
            D::Error::custom(
                "expected a number, or a table with `value` or `time_constant`, and `train`",
            )
        })?;
        match found {
            NumberOrTable::Number(value) => Ok(value.into()),
            NumberOrTable::Table(LeakTable { value, time_constant, train }) => {
                let value = match (value, time_constant) {
                    (Some(_), Some(_)) => {
                        let message = "expected `value` or `time_constant`, found both";
                        return Err(D::Error::custom(message));
                    }
                    (Some(value), None) => value,
                    (None, Some(steps)) => 1.0 - 1.0 / steps,
                    (None, None) => 1.0,
                };
                Ok(Self { value, train })
            }
        }
    }
}

impl Serialize for LeakConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { value, train } = *self;
        match train {
            false => value.serialize(serializer),
            true => {
                LeakTable { value: Some(value), time_constant: None, train }.serialize(serializer)
            }
        }
    }
}

/// The thresholds of all layers. Their values come from the conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdConfig {
    /// Which neurons share a threshold.
    pub per: ThresholdPer,
    /// Whether the thresholds are trained.
    pub train: bool,
}

/// Which neurons share a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdPer {
    /// Those of a layer.
    #[default]
    Layer,
    /// Those of a channel.
    Channel,
}

/// The membrane potentials before the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitialMembraneConfig {
    /// The potential in thresholds of the layer: 0 is rest, and 0.5 is half a threshold.
    pub value: f64,
    /// Which neurons share a potential.
    pub per: InitialMembranePer,
    /// Whether the potentials are trained.
    pub train: bool,
}

/// Which neurons share an initial membrane potential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialMembranePer {
    /// Those of a layer.
    #[default]
    Layer,
    /// None: each neuron has its own.
    Neuron,
}

impl InitialMembraneConfig {
    /// Whether all neurons start at rest and stay so. Potentials of single neurons are kept, since
    /// a calibration may set them.
    pub fn is_rest(&self) -> bool {
        self.value == 0.0 && !self.train && self.per == InitialMembranePer::Layer
    }
}

/// Which neurons share the numbers of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Which neurons share a threshold.
    pub threshold: ThresholdPer,
    /// Which neurons share an initial membrane potential. `None` if all start at rest.
    pub initial_membrane: Option<InitialMembranePer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_a_number_or_a_table() {
        let read = |text: &str| serde_json::from_str::<LeakConfig>(text);
        assert_eq!(read("0.9").unwrap(), 0.9.into());
        assert_eq!(read("1").unwrap(), 1.0.into());
        let trained = LeakConfig { value: 0.5, train: true };
        assert_eq!(read(r#"{"value": 0.5, "train": true}"#).unwrap(), trained);
        assert_eq!(read(r#"{"time_constant": 2.0, "train": true}"#).unwrap(), trained);
        assert_eq!(read(&serde_json::to_string(&trained).unwrap()).unwrap(), trained);
        assert_eq!(serde_json::to_string(&LeakConfig::from(0.9)).unwrap(), "0.9");
        let both = read(r#"{"time_constant": 2.0, "value": 0.5}"#).unwrap_err();
        assert!(both.to_string().contains("found both"), "{both}");
        assert!(read(r#""a""#).unwrap_err().to_string().contains("a table with `value`"));
    }
}
