//! Activation-based attention distillation (Eq. 5-7; Zagoruyko and Komodakis, "Paying more
//! attention to attention", 2017): the distance of the attention maps of student and teacher at up
//! to three depths. [`crate::attention`] has the equations.

use burn::tensor::backend::Backend;
use lasnn_core::{Plan, Probe, Probes, Tap};
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::attention::{
    Distance, Normalise, attention_distance, attention_divergence, raw_attention_distance,
};
use crate::check::{LossError, Subject};
use crate::divergence::check_temperature;
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};

/// Activation-based attention distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attention {
    /// λ_AT of Eq. 8: the factor of the distance at each tap. Useful values are of order 1 with the
    /// distance `norm` and of order 1000 with `mean-square`.
    pub weight: f64,
    /// What is done with each flattened map before two of them are compared.
    pub normalise: Normalise,
    /// The distance of two attention maps; the paper leaves it open. It has no effect with
    /// [`Normalise::Softmax`], where the divergence of two distributions is taken.
    pub distance: Distance,
    /// The temperature τ of [`Normalise::Softmax`]. It has no effect otherwise.
    pub temperature: f64,
    /// The depths at which student and teacher are compared.
    pub taps: Vec<Tap>,
}

/// The default temperature, that of the published code of CKDSNN.
const TEMPERATURE: f64 = 2.0;

impl Default for Attention {
    fn default() -> Self {
        Self {
            weight: 0.9,
            normalise: Normalise::L2,
            distance: Distance::Norm,
            temperature: TEMPERATURE,
            taps: Tap::ALL.to_vec(),
        }
    }
}

impl Described for Attention {
    const NAME: &'static str = "attention";
    const ABOUT: &'static str =
        "Distance of the attention maps of student and teacher at up to three depths.";
    const SOURCE: &'static str =
        "LaSNN, Eq. 5-9; Zagoruyko and Komodakis, 2017; normalised by a softmax: CKDSNN, 2026";
}

impl Attention {
    fn probes(&self) -> Probes {
        self.taps.iter().map(|&tap| Probe::Attention(tap)).collect()
    }
}

impl LossKind for Attention {
    fn weight(&self) -> f64 {
        self.weight
    }

    fn uses_labels(&self) -> bool {
        false
    }

    fn needs_teacher(&self) -> bool {
        true
    }

    fn student_probes(&self) -> Probes {
        self.probes()
    }

    fn teacher_probes(&self) -> Probes {
        self.probes()
    }

    fn check(&self, student: Subject<'_>, teacher: Option<Subject<'_>>) -> Result<(), LossError> {
        if self.taps.is_empty() {
            let (key, expected) = ("taps", "at least one of low, middle, high");
            return Err(LossError::Value { key, found: "empty".into(), expected });
        }
        if let Some(tap) = repeated(&self.taps) {
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

    fn note(&self) -> Option<String> {
        let Self { weight, normalise, distance, temperature, .. } = *self;
        let without_effect =
            |key, normalise| format!("`{key}` has no effect, since `normalise` is \"{normalise}\"");
        let usual = match (normalise, distance) {
            (Normalise::Softmax, Distance::Norm) => return None,
            (Normalise::Softmax, _) => return Some(without_effect("distance", "softmax")),
            (Normalise::L2, _) if temperature != TEMPERATURE => {
                return Some(without_effect("temperature", "l2"));
            }
            (Normalise::None, _) if temperature != TEMPERATURE => {
                return Some(without_effect("temperature", "none"));
            }
            (Normalise::L2, Distance::MeanSquare) if weight < 10.0 => "1000",
            (Normalise::L2, Distance::Norm) if weight > 100.0 => "1",
            _ => return None,
        };
        Some(format!(
            "`weight` is {weight}; for this distance it is usually of the order of {usual}"
        ))
    }
}

impl<B: Backend> StudentLoss<B> for Attention {
    /// # Panics
    ///
    /// If a network lacks a tap. [`check`](crate::check::check) finds this before training.
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let (student, teacher) = (&inputs.student.attention, &inputs.teacher().attention);
        let part = |tap: &Tap| {
            let (student, teacher) = (student[tap].clone(), teacher[tap].clone());
            let value = match self.normalise {
                Normalise::L2 => attention_distance(student, teacher, self.distance),
                Normalise::None => raw_attention_distance(student, teacher, self.distance),
                Normalise::Softmax => attention_divergence(student, teacher, self.temperature),
            };
            LossPart { name: format!("attention_{tap}"), value }
        };
        self.taps.iter().map(part).collect()
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

    const IMAGE: Shape = Shape { channels: 1, height: 8, width: 8 };

    fn plan(taps: &[Tap]) -> Plan {
        let mut layers: Vec<Layer> = taps.iter().map(|&tap| Layer::conv(2).tapped(tap)).collect();
        layers.push(Layer::Classifier { bias: false });
        Architecture { name: "net".into(), layers }.plan(IMAGE, 10).unwrap()
    }

    /// The message of the error, empty if there is none.
    fn message(loss: &Attention, teacher: &Plan, student: &Plan) -> String {
        let checked = loss.check(Subject::spiking(student, 4), Some(Subject::ordinary(teacher)));
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn taps_are_checked() {
        let plan = plan(&Tap::ALL);
        let check = |taps| message(&Attention { taps, ..Default::default() }, &plan, &plan);
        assert_eq!(check(Tap::ALL.to_vec()), "");
        assert!(check(vec![]).contains("`taps` is empty"));
        assert!(check(vec![Tap::Low, Tap::Low]).contains("`low` twice"));
    }

    #[test]
    fn taps_that_cannot_be_compared_are_refused() {
        let loss = Attention::default();
        let order = plan(&[Tap::Low, Tap::High, Tap::Middle]);
        let text = message(&loss, &plan(&Tap::ALL), &order);
        assert!(text.contains("low, middle, high in the teacher"), "{text}");
        let mut layers = vec![Layer::AveragePool { size: 8 }];
        layers.extend(plan(&Tap::ALL).layers.into_iter().map(|planned| planned.layer));
        let pooled = Architecture { name: "net".into(), layers }.plan(IMAGE, 10).unwrap();
        let text = message(&loss, &pooled, &plan(&Tap::ALL));
        assert!(text.contains("tap `low`") && text.contains("one position"), "{text}");
        let raw = Attention { normalise: Normalise::None, ..Default::default() };
        assert_eq!(message(&raw, &pooled, &plan(&Tap::ALL)), "");
    }

    #[test]
    fn unusual_weights_are_noted() {
        let note = |weight, distance| Attention { weight, distance, ..Default::default() }.note();
        assert_eq!(note(0.9, Distance::Norm), None);
        assert_eq!(note(1000.0, Distance::MeanSquare), None);
        assert!(note(0.9, Distance::MeanSquare).unwrap().contains("1000"));
        assert!(note(1000.0, Distance::Norm).unwrap().contains("`weight` is 1000"));
    }

    #[test]
    fn keys_without_effect_are_noted() {
        let note = |normalise, distance, temperature| {
            Attention { normalise, distance, temperature, ..Default::default() }.note()
        };
        assert_eq!(note(Normalise::Softmax, Distance::Norm, 4.0), None);
        assert_eq!(note(Normalise::None, Distance::MeanSquare, TEMPERATURE), None);
        let text = note(Normalise::Softmax, Distance::MeanSquare, 4.0).unwrap();
        assert_eq!(text, "`distance` has no effect, since `normalise` is \"softmax\"");
        for (normalise, name) in [(Normalise::L2, "l2"), (Normalise::None, "none")] {
            let text = note(normalise, Distance::Norm, 4.0).unwrap();
            assert!(text.contains("`temperature`") && text.contains(name), "{text}");
        }
    }

    #[test]
    fn the_temperature_is_checked() {
        let plan = plan(&Tap::ALL);
        let loss = Attention { temperature: -1.0, ..Default::default() };
        assert!(message(&loss, &plan, &plan).contains("`temperature` is -1, expected a number"));
    }
}
