//! The comparison of maps of student and teacher at some depths, which attention losses share.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Plan, Tap};

use crate::attention::{
    Distance, Normalise, attention_distance, attention_divergence, raw_attention_distance,
};
use crate::check::{LossError, Subject};
use crate::divergence::check_temperature;

/// The default temperature of the softmax of a map. The published code of CKDSNN has it, too.
pub(crate) const TEMPERATURE: f64 = 2.0;

/// How maps are compared, and at which depths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison<'a> {
    /// What is done with each flattened map.
    pub normalise: Normalise,
    /// The distance of two maps.
    pub distance: Distance,
    /// The temperature of the softmax.
    pub temperature: f64,
    /// The depths.
    pub taps: &'a [Tap],
}

impl Comparison<'_> {
    /// The distance of two maps `[batch, 1, height, width]` of student and teacher.
    pub fn value<B: Backend>(&self, student: Tensor<B, 4>, teacher: Tensor<B, 4>) -> Tensor<B, 1> {
        match self.normalise {
            Normalise::L2 => attention_distance(student, teacher, self.distance),
            Normalise::None => raw_attention_distance(student, teacher, self.distance),
            Normalise::Softmax => attention_divergence(student, teacher, self.temperature),
        }
    }

    /// Checks the numbers, and that the networks can be compared at the depths.
    ///
    /// # Errors
    ///
    /// Names the key, or the tap and the network.
    pub fn check(
        &self,
        student: Subject<'_>,
        teacher: Option<Subject<'_>>,
    ) -> Result<(), LossError> {
        if self.taps.is_empty() {
            let (key, expected) = ("taps", "at least one of low, middle, high");
            return Err(LossError::Value { key, found: "empty".into(), expected });
        }
        if let Some(tap) = repeated(self.taps) {
            let (key, expected) = ("taps", "each depth once");
            let found = format!("a list with `{tap}` twice");
            return Err(LossError::Value { key, found, expected });
        }
        check_temperature(self.temperature)?;
        let Some(teacher) = teacher else { return Ok(()) };
        // Without a normalisation, maps of one position differ.
        for &tap in self.taps.iter().filter(|_| self.normalise != Normalise::None) {
            // Maps are compared in the smaller of the two sizes.
            let sizes = [teacher, student].map(|subject| subject.plan.tap(tap));
            if let [Some(teacher), Some(student)] = sizes
                && teacher.height.min(student.height) * teacher.width.min(student.width) == 1
            {
                return Err(LossError::OnePosition { tap, teacher, student });
            }
        }
        let order = |plan: &Plan| -> Vec<Tap> {
            let taps = plan.layers.iter().filter_map(|planned| planned.layer.tap());
            taps.filter(|tap| self.taps.contains(tap)).collect()
        };
        let (teacher, student) = (order(teacher.plan), order(student.plan));
        match teacher == student {
            true => Ok(()),
            false => Err(LossError::Order { teacher, student }),
        }
    }

    /// A remark about a key without effect.
    pub fn note(&self) -> Option<String> {
        let without_effect = |key: &str, normalise: &str| {
            Some(format!("`{key}` has no effect, since `normalise` is \"{normalise}\""))
        };
        match (self.normalise, self.distance) {
            (Normalise::Softmax, Distance::MeanSquare) => without_effect("distance", "softmax"),
            (Normalise::L2, _) if self.temperature != TEMPERATURE => {
                without_effect("temperature", "l2")
            }
            (Normalise::None, _) if self.temperature != TEMPERATURE => {
                without_effect("temperature", "none")
            }
            _ => None,
        }
    }

    /// A remark about a weight that is unusual for maps that are divided by their norms.
    pub fn weight_note(&self, weight: f64) -> Option<String> {
        let usual = match (self.normalise, self.distance) {
            (Normalise::L2, Distance::MeanSquare) if weight < 10.0 => "1000",
            (Normalise::L2, Distance::Norm) if weight > 100.0 => "1",
            _ => return None,
        };
        Some(format!(
            "`weight` is {weight}; for this distance it is usually of the order of {usual}"
        ))
    }
}

/// The first tap that the list has twice.
fn repeated(taps: &[Tap]) -> Option<Tap> {
    let found = taps.iter().enumerate().find(|(index, tap)| taps[..*index].contains(tap));
    found.map(|(_, &tap)| tap)
}
