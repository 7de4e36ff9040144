//! Activation-based attention distillation (Eq. 5-7; Zagoruyko and Komodakis, "Paying more
//! attention to attention", 2017): the distance of the attention maps of student and teacher at up
//! to three depths. [`crate::attention`] has the equations.

use burn::tensor::backend::Backend;
use lasnn_core::{Probe, Probes, Tap};
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::attention::{Distance, Normalise};
use crate::check::{LossError, Subject};
use crate::comparison::{Comparison, TEMPERATURE};
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

    fn comparison(&self) -> Comparison<'_> {
        let Self { normalise, distance, temperature, ref taps, .. } = *self;
        Comparison { normalise, distance, temperature, taps }
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
        self.comparison().check(student, teacher)
    }

    fn note(&self) -> Option<String> {
        let comparison = self.comparison();
        comparison.note().or_else(|| comparison.weight_note(self.weight))
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
            let value = self.comparison().value(student, teacher);
            LossPart { name: format!("attention_{tap}"), value }
        };
        self.taps.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Plan, Shape};

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
