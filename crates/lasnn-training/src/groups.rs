//! Groups of parameters: each kind of parameter can have a learning rate and a weight decay of its
//! own.
//!
//! The kind of a parameter follows from its name ([`ParamKind::of`]), so a group needs no list of
//! parameters. Without a group, a kind has the learning rate of the optimiser. It also has its
//! weight decay, unless the kind is one of neurons: a decay would pull thresholds and leaks towards
//! 0, where a neuron fires at every step or forgets its inputs. DIET-SNN (Rathi and Roy, 2020)
//! trains both without weight decay.

use std::collections::BTreeMap;

use lasnn_core::Kind;
use lasnn_nn::state;
use serde::{Deserialize, Serialize};

use crate::config::{OptimizerConfig, check, not_negative};
use crate::error::ConfigError;

/// The kind of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum ParamKind {
    /// The weights of a convolution or a linear layer.
    Weight,
    /// The bias of a convolution or a linear layer.
    Bias,
    /// Scale and shift of a batch norm.
    Norm,
    /// A parameter of an activation of an ordinary network.
    Activation,
    /// The threshold of neurons.
    Threshold,
    /// The leak of neurons.
    Leak,
    /// The membrane potentials of neurons before the first time step.
    InitialMembrane,
}

/// The last part of the names of all parameters of a kind, and whether the weight decay of the
/// optimiser acts on them by default. Another form of a parameter has a name that continues with
/// `_`, such as `leak_logit`. Parameters of activations are known by their module instead.
const TABLE: [(&[&str], ParamKind, bool); 7] = [
    (&["weight"], ParamKind::Weight, true),
    (&["bias"], ParamKind::Bias, true),
    (&["gamma", "beta"], ParamKind::Norm, true),
    // PACT (Choi et al., 2018) trains its bounds with the weight decay of the weights.
    (&[], ParamKind::Activation, true),
    (&["threshold"], ParamKind::Threshold, false),
    (&["leak"], ParamKind::Leak, false),
    (&["initial_membrane"], ParamKind::InitialMembrane, false),
];

impl ParamKind {
    /// The names of all kinds, in the order of the variants.
    pub const KINDS: &[Kind] = &[
        Kind { name: "weight", about: "weights of convolutions and linear layers", source: "" },
        Kind { name: "bias", about: "biases of convolutions and linear layers", source: "" },
        Kind { name: "norm", about: "scale and shift of batch norms", source: "" },
        Kind {
            name: "activation",
            about: "parameters of activations of ordinary networks that are trained",
            source: "Choi et al. 2018 (PACT)",
        },
        Kind {
            name: "threshold",
            about: "thresholds of neurons that are trained; no weight decay by default",
            source: "Rathi and Roy 2020 (DIET-SNN)",
        },
        Kind {
            name: "leak",
            about: "leaks of neurons that are trained; no weight decay by default",
            source: "Rathi and Roy 2020 (DIET-SNN)",
        },
        Kind {
            name: "initial-membrane",
            about: "initial membrane potentials that are trained; no weight decay by default",
            source: "",
        },
    ];

    /// All kinds, in the order of the variants.
    pub const ALL: [Self; 7] = [
        Self::Weight,
        Self::Bias,
        Self::Norm,
        Self::Activation,
        Self::Threshold,
        Self::Leak,
        Self::InitialMembrane,
    ];

    /// The kind of the parameter with a name such as `layers.0.conv.weight`. A parameter whose name
    /// is in no row of the table counts as a weight.
    pub fn of(name: &str) -> Self {
        if state::is_of_activation(name) {
            return Self::Activation;
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        let is = |name: &&str| {
            last.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let row = TABLE.iter().find(|(names, ..)| names.iter().any(is));
        row.map_or(Self::Weight, |&(_, kind, _)| kind)
    }

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        Self::KINDS[self as usize].name
    }

    /// Whether the weight decay of the optimiser acts on the kind if its group has none.
    pub fn is_decayed(self) -> bool {
        TABLE[self as usize].2
    }
}

impl From<ParamKind> for &'static str {
    fn from(kind: ParamKind) -> Self {
        kind.name()
    }
}

/// A name that is no kind of parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no kind of parameters, expected one of {expected}")]
pub struct UnknownKind {
    /// The name.
    pub found: String,
    /// The names of all kinds.
    pub expected: String,
}

/// By way of a text and not of an enum, because the errors of a reader then name the table of a
/// kind.
impl TryFrom<String> for ParamKind {
    type Error = UnknownKind;

    fn try_from(found: String) -> Result<Self, UnknownKind> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == found);
        kind.ok_or_else(|| {
            let names = Self::ALL.map(|kind| format!("`{}`", kind.name()));
            UnknownKind { found, expected: names.join(", ") }
        })
    }
}

/// What differs from the optimiser for one kind of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The initial learning rate, which the schedule changes by the same factor as that of the
    /// optimiser. 0 leaves the parameters as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The weight decay. It is decoupled if the optimiser has decoupled weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

/// The groups of a training, by their kind of parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Groups {
    by_kind: BTreeMap<ParamKind, Group>,
}

impl Groups {
    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty()
    }

    /// The kinds that have a group.
    pub fn kinds(&self) -> impl Iterator<Item = ParamKind> {
        self.by_kind.keys().copied()
    }

    /// The update rule for a kind of parameters: that of the optimiser with the learning rate and
    /// the weight decay of the kind.
    pub fn rule(&self, kind: ParamKind, optimizer: &OptimizerConfig) -> OptimizerConfig {
        let group = self.by_kind.get(&kind).copied().unwrap_or_default();
        let default_decay = if kind.is_decayed() { optimizer.weight_decay() } else { 0.0 };
        optimizer.clone().with(
            group.learning_rate.unwrap_or(optimizer.learning_rate()),
            group.weight_decay.unwrap_or(default_decay),
        )
    }

    /// Whether the weight decay of some kind of parameters is above 0.
    pub(crate) fn have_decay(&self, optimizer: &OptimizerConfig) -> bool {
        ParamKind::ALL.into_iter().any(|kind| self.rule(kind, optimizer).weight_decay() > 0.0)
    }

    /// Checks that every value is in its range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (kind, group) in &self.by_kind {
            let values =
                [("learning_rate", group.learning_rate), ("weight_decay", group.weight_decay)];
            for (key, value) in values {
                let value = value.unwrap_or_default();
                // The kernels compute in single precision.
                let is_valid = not_negative(value) && (value as f32).is_finite();
                check(is_valid, &format!("groups.{}.{key}", kind.name()), value, "at least 0")?;
            }
        }
        Ok(())
    }
}

impl FromIterator<(ParamKind, Group)> for Groups {
    fn from_iter<T: IntoIterator<Item = (ParamKind, Group)>>(groups: T) -> Self {
        Self { by_kind: groups.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::Adam;
    use crate::sgd::Sgd;

    fn read(text: &str) -> Result<Groups, String> {
        let groups: Groups = serde_json::from_str(text).map_err(|error| error.to_string())?;
        groups.validate().map_err(|error| error.to_string())?;
        Ok(groups)
    }

    #[test]
    fn tables_have_the_order_of_the_variants() {
        assert_eq!(ParamKind::KINDS.len(), ParamKind::ALL.len());
        for (index, kind) in ParamKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, TABLE[index].1), (index, kind));
            assert_eq!(ParamKind::try_from(kind.name().to_owned()), Ok(kind));
        }
    }

    #[test]
    fn the_kind_follows_from_the_last_part_of_the_name() {
        for (name, kind) in [
            ("layers.0.conv.weight", ParamKind::Weight),
            ("layers.3.shortcut.conv.bias", ParamKind::Bias),
            ("layers.1.norm.gamma", ParamKind::Norm),
            ("layers.1.norm.beta", ParamKind::Norm),
            ("layers.1.activation.bound", ParamKind::Activation),
            ("layers.2.units.0.first.activation.weight", ParamKind::Activation),
            ("layers.3.first.neurons.threshold", ParamKind::Threshold),
            ("layers.2.neurons.leak", ParamKind::Leak),
            ("layers.2.neurons.leak_logit", ParamKind::Leak),
            ("layers.2.neurons.leak_log", ParamKind::Leak),
            ("layers.2.neurons.leakage", ParamKind::Weight),
            ("layers.2.neurons.initial_membrane", ParamKind::InitialMembrane),
            ("first", ParamKind::Weight),
        ] {
            assert_eq!(ParamKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn without_a_group_only_parameters_of_neurons_differ_from_the_optimizer() {
        let adam = Adam { weight_decay: 0.01, ..Adam::new(0.1) };
        for optimizer in [OptimizerConfig::Sgd(Sgd::new(0.1)), OptimizerConfig::Adam(adam)] {
            for kind in ParamKind::ALL {
                let rule = Groups::default().rule(kind, &optimizer);
                match kind {
                    ParamKind::Weight
                    | ParamKind::Bias
                    | ParamKind::Norm
                    | ParamKind::Activation => {
                        assert_eq!(rule, optimizer, "{kind:?}");
                    }
                    _ => assert_eq!(rule, optimizer.clone().with(0.1, 0.0), "{kind:?}"),
                }
            }
        }
    }

    #[test]
    fn a_group_changes_its_kind_only() {
        let groups =
            read(r#"{"leak": {"learning_rate": 0.5}, "bias": {"weight_decay": 0.0}}"#).unwrap();
        let optimizer = OptimizerConfig::Sgd(Sgd::new(0.1));
        let numbers = |kind| {
            let rule = groups.rule(kind, &optimizer);
            (rule.learning_rate(), rule.weight_decay())
        };
        assert_eq!(numbers(ParamKind::Weight), (0.1, 5e-4));
        assert_eq!(numbers(ParamKind::Bias), (0.1, 0.0));
        assert_eq!(numbers(ParamKind::Leak), (0.5, 0.0));
        assert_eq!(groups.kinds().collect::<Vec<_>>(), [ParamKind::Bias, ParamKind::Leak]);
        let text = serde_json::to_string(&groups).unwrap();
        assert_eq!(text, r#"{"bias":{"weight_decay":0.0},"leak":{"learning_rate":0.5}}"#);
        assert_eq!(read(&text).unwrap(), groups);
    }

    #[test]
    fn unknown_kinds_and_values_out_of_range_are_errors() {
        #[track_caller]
        fn refuses(text: &str, expected: &str) {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        refuses(
            r#"{"weights": {}}"#,
            "`weights` is no kind of parameters, expected one of `weight`, `bias`, `norm`, \
             `activation`, `threshold`, `leak`, `initial-membrane`",
        );
        refuses(r#"{"leak": {"rate": 0.1}}"#, "rate");
        refuses(
            r#"{"initial-membrane": {"learning_rate": -0.5}}"#,
            "`groups.initial-membrane.learning_rate` is -0.5, expected at least 0",
        );
        refuses(r#"{"bias": {"weight_decay": 1e300}}"#, "`groups.bias.weight_decay` is 1");
        assert!(read(r#"{"weight": {"learning_rate": 0}}"#).is_ok(), "0 freezes the weights");
    }
}
