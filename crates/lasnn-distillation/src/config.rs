//! The `distillation` table of a recipe.

use lasnn_core::{Plan, Shape, Tap};
use serde::{Deserialize, Serialize};

use crate::attention::Distance;

/// The kind of distillation and its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DistillationConfig {
    /// Activation-based attention (Eq. 5-9).
    Attention(AttentionConfig),
}

/// Activation-based attention distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionConfig {
    /// λ_AT of Eq. 8: the weight of the attention losses relative to the cross-entropy. Useful
    /// values are of order 1 with the distance `norm` and of order 1000 with `mean-square`.
    pub weight: f64,
    /// The distance of two normalised attention maps; the paper leaves it open.
    pub distance: Distance,
    /// The depths at which student and teacher are compared.
    pub taps: Vec<Tap>,
}

impl Default for AttentionConfig {
    fn default() -> Self {
        Self { weight: 0.9, distance: Distance::Norm, taps: Tap::ALL.to_vec() }
    }
}

impl Default for DistillationConfig {
    fn default() -> Self {
        Self::Attention(AttentionConfig::default())
    }
}

/// Why a distillation is not possible with these networks.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DistillationError {
    /// A number is out of range.
    #[error("`student.distillation.{key}` is {found}, expected {expected}")]
    Value {
        /// The key in the recipe.
        key: &'static str,
        /// The value found.
        found: String,
        /// The expected range.
        expected: &'static str,
    },
    /// A network has no layer at a tap.
    #[error(
        "distillation compares tap `{tap}`, but the {role} `{network}` has no layer with \
         `tap = \"{tap}\"`"
    )]
    MissingTap {
        /// The tap.
        tap: Tap,
        /// `teacher` or `student`.
        role: &'static str,
        /// The network's name.
        network: String,
    },
    /// The attention maps at a tap have one position. Normalised, they are 1 for every image.
    #[error(
        "distillation compares tap `{tap}`, where the teacher's feature map is {teacher} and the \
         student's is {student}: attention maps of one position are always equal, expected at \
         least 2 positions"
    )]
    OnePosition {
        /// The tap.
        tap: Tap,
        /// The shape of the teacher's feature map.
        teacher: Shape,
        /// The shape of the student's feature map.
        student: Shape,
    },
    /// The order of the taps differs between the two networks.
    #[error(
        "the order of the taps is {} in the teacher and {} in the student, expected the same order",
        names(teacher),
        names(student)
    )]
    Order {
        /// The taps of the teacher, from the image on.
        teacher: Vec<Tap>,
        /// The taps of the student, from the image on.
        student: Vec<Tap>,
    },
}

/// The names of taps, separated by commas.
fn names(taps: &[Tap]) -> String {
    let names: Vec<_> = taps.iter().map(Tap::to_string).collect();
    names.join(", ")
}

impl DistillationConfig {
    /// Checks that the numbers are in range, and that the two networks can be compared at the taps.
    ///
    /// # Errors
    ///
    /// Names the key, or the tap and the network.
    pub fn check(&self, teacher: &Plan, student: &Plan) -> Result<(), DistillationError> {
        let Self::Attention(config) = self;
        if !(config.weight.is_finite() && config.weight >= 0.0) {
            let found = config.weight.to_string();
            let (key, expected) = ("weight", "a number of at least 0");
            return Err(DistillationError::Value { key, found, expected });
        }
        if config.taps.is_empty() {
            let (key, expected) = ("taps", "at least one of low, middle, high");
            return Err(DistillationError::Value { key, found: "empty".into(), expected });
        }
        if let Some(tap) = repeated(&config.taps) {
            let (key, expected) = ("taps", "each depth once");
            let found = format!("a list with `{tap}` twice");
            return Err(DistillationError::Value { key, found, expected });
        }
        for &tap in &config.taps {
            for (role, plan) in [("teacher", teacher), ("student", student)] {
                if plan.tap(tap).is_none() {
                    let network = plan.name.clone();
                    return Err(DistillationError::MissingTap { tap, role, network });
                }
            }
            // Maps are compared in the smaller of the two sizes.
            let sizes = [teacher, student].map(|plan| plan.tap(tap));
            if let [Some(teacher), Some(student)] = sizes
                && teacher.height.min(student.height) * teacher.width.min(student.width) == 1
            {
                return Err(DistillationError::OnePosition { tap, teacher, student });
            }
        }
        let order = |plan: &Plan| -> Vec<Tap> {
            let taps = plan.layers.iter().filter_map(|planned| planned.layer.tap());
            taps.filter(|tap| config.taps.contains(tap)).collect()
        };
        let (teacher, student) = (order(teacher), order(student));
        if teacher != student {
            return Err(DistillationError::Order { teacher, student });
        }
        Ok(())
    }
}

/// The first tap that the list has twice.
fn repeated(taps: &[Tap]) -> Option<Tap> {
    let found = taps.iter().enumerate().find(|(index, tap)| taps[..*index].contains(tap));
    found.map(|(_, &tap)| tap)
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;

    fn plan(taps: &[Tap]) -> Plan {
        let mut layers: Vec<Layer> = taps.iter().map(|&tap| Layer::conv(2).tapped(tap)).collect();
        layers.push(Layer::Classifier { bias: false });
        let image = Shape { channels: 1, height: 8, width: 8 };
        Architecture { name: "net".into(), layers }.plan(image, 10).unwrap()
    }

    #[test]
    fn a_missing_tap_is_named_with_its_network() {
        let config = DistillationConfig::default();
        assert_eq!(config.check(&plan(&Tap::ALL), &plan(&Tap::ALL)), Ok(()));
        let error = config.check(&plan(&Tap::ALL), &plan(&[Tap::Low, Tap::High])).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`middle`, but the student `net`"), "{message}");
    }

    #[test]
    fn weights_and_taps_are_checked() {
        let plan = plan(&Tap::ALL);
        let check = |config| DistillationConfig::Attention(config).check(&plan, &plan);
        let weight = AttentionConfig { weight: f64::NAN, ..Default::default() };
        assert!(check(weight).unwrap_err().to_string().contains("weight` is NaN"));
        let taps = AttentionConfig { taps: vec![], ..Default::default() };
        assert!(check(taps).unwrap_err().to_string().contains("taps` is empty"));
        let taps = AttentionConfig { taps: vec![Tap::Low, Tap::Low], ..Default::default() };
        assert!(check(taps).unwrap_err().to_string().contains("`low` twice"));
    }

    #[test]
    fn taps_that_cannot_be_compared_are_refused() {
        let config = DistillationConfig::default();
        let order = plan(&[Tap::Low, Tap::High, Tap::Middle]);
        let message = config.check(&plan(&Tap::ALL), &order).unwrap_err().to_string();
        assert!(message.contains("low, middle, high in the teacher"), "{message}");
        let mut layers = vec![Layer::AveragePool { size: 8 }];
        layers.extend(plan(&Tap::ALL).layers.into_iter().map(|planned| planned.layer));
        let image = Shape { channels: 1, height: 8, width: 8 };
        let pooled = Architecture { name: "net".into(), layers }.plan(image, 10).unwrap();
        let message = config.check(&pooled, &plan(&Tap::ALL)).unwrap_err().to_string();
        assert!(message.contains("tap `low`") && message.contains("one position"), "{message}");
    }

    #[test]
    fn a_recipe_can_leave_out_everything_but_the_kind() {
        let config: DistillationConfig = serde_json::from_str(r#"{"kind": "attention"}"#).unwrap();
        assert_eq!(config, DistillationConfig::default());
    }
}
