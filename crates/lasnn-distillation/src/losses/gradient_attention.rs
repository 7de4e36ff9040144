//! Gradient-based attention distillation (LaSNN, Eq. 10-13).
//!
//! The teacher's map at a depth follows from the gradient of its own cross-entropy `L`, and the
//! student's map from its spikes `o` ([`Trace`] has `N`):
//!
//! ```text
//! J_T = (1/C) Σ_c (∂L / ∂A_c)²         A: the feature map of the teacher, with C channels
//! J_S = Σ_t Σ_c N_c^t o_c^t            the spike activation map, summed over the time steps
//! ```
//!
//! The loss is their distance, as for the maps of activations ([`crate::attention`]). The paper
//! does not say what the gradient is taken of and how channels are reduced; docs/errata.md has our
//! choices.

use burn::tensor::backend::Backend;
use lasnn_core::{Probe, Probes, Tap, Trace};
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::attention::{Distance, Normalise};
use crate::check::{LossError, Subject};
use crate::comparison::{Comparison, TEMPERATURE};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};

/// Gradient-based attention distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradientAttention {
    /// λ_GAT of Eq. 13: the factor of the distance at each tap.
    pub weight: f64,
    /// What is done with each flattened map before two of them are compared. Without a
    /// normalisation the maps have different units, and their distance means little.
    pub normalise: Normalise,
    /// The distance of two maps. It has no effect with [`Normalise::Softmax`].
    pub distance: Distance,
    /// The temperature τ of [`Normalise::Softmax`]. It has no effect otherwise.
    pub temperature: f64,
    /// The rate at which earlier spikes of the student count less, `γ`; at least 0.
    pub gamma: f64,
    /// Whether the spike of the current time step counts.
    pub include_current: bool,
    /// The depths at which student and teacher are compared.
    pub taps: Vec<Tap>,
}

impl Default for GradientAttention {
    fn default() -> Self {
        let Trace { gamma, include_current } = Trace::PUBLISHED;
        Self {
            weight: 0.9,
            normalise: Normalise::L2,
            distance: Distance::Norm,
            temperature: TEMPERATURE,
            gamma,
            include_current,
            taps: Tap::ALL.to_vec(),
        }
    }
}

impl Described for GradientAttention {
    const NAME: &'static str = "gradient-attention";
    const ABOUT: &'static str =
        "Distance of the student's spike activation maps and the teacher's gradient maps.";
    const SOURCE: &'static str = "LaSNN, Eq. 10-13; Kim and Panda, 2021";
}

impl GradientAttention {
    fn comparison(&self) -> Comparison<'_> {
        let Self { normalise, distance, temperature, ref taps, .. } = *self;
        Comparison { normalise, distance, temperature, taps }
    }

    fn probes(&self, probe: fn(Tap) -> Probe) -> Probes {
        self.taps.iter().map(|&tap| probe(tap)).collect()
    }
}

impl LossKind for GradientAttention {
    fn weight(&self) -> f64 {
        self.weight
    }

    fn uses_labels(&self) -> bool {
        true
    }

    fn needs_teacher(&self) -> bool {
        true
    }

    fn student_probes(&self) -> Probes {
        let Self { gamma, include_current, .. } = *self;
        self.probes(Probe::ActivationMap).with_trace(Trace { gamma, include_current })
    }

    fn teacher_probes(&self) -> Probes {
        self.probes(Probe::GradientMap)
    }

    fn check(&self, student: Subject<'_>, teacher: Option<Subject<'_>>) -> Result<(), LossError> {
        if !(self.gamma >= 0.0 && self.gamma.is_finite()) {
            let (key, expected) = ("gamma", "a number of at least 0");
            return Err(LossError::Value { key, found: self.gamma.to_string(), expected });
        }
        if !self.include_current && student.time_steps == Some(1) {
            return Err(LossError::OneStep);
        }
        self.comparison().check(student, teacher)
    }

    fn note(&self) -> Option<String> {
        let comparison = self.comparison();
        comparison.note().or_else(|| comparison.weight_note(self.weight))
    }
}

impl<B: Backend> StudentLoss<B> for GradientAttention {
    /// # Panics
    ///
    /// If a network lacks a tap. [`check`](crate::check::check) finds this before training.
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let (student, teacher) = (&inputs.student.activation_maps, &inputs.teacher().gradient_maps);
        let part = |tap: &Tap| {
            let [_, batch, height, width] = student[tap].dims();
            let map = student[tap].clone().sum_dim(0).reshape([batch, 1, height, width]);
            let value = self.comparison().value(map, teacher[tap].clone());
            LossPart { name: format!("gradient_attention_{tap}"), value }
        };
        self.taps.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;

    #[test]
    fn numbers_and_teachers_that_are_not_possible_are_refused() {
        let image = Shape { channels: 1, height: 8, width: 8 };
        let mut layers: Vec<Layer> = Tap::ALL.map(|tap| Layer::conv(2).tapped(tap)).to_vec();
        layers.push(Layer::Classifier { bias: false });
        let plan = Architecture { name: "net".into(), layers }.plan(image, 10).unwrap();
        let (student, teacher) = (Subject::spiking(&plan, 4), Subject::ordinary(&plan));
        let check = |loss: GradientAttention, student, teacher| {
            let losses = [crate::LossConfig::GradientAttention(loss)];
            crate::check(&losses, student, Some(teacher)).map_err(|error| error.to_string())
        };
        assert_eq!(check(GradientAttention::default(), student, teacher), Ok(()));
        let loss = GradientAttention { gamma: f64::NAN, ..Default::default() };
        assert!(check(loss, student, teacher).unwrap_err().contains("`gamma` is NaN"));
        let loss = GradientAttention { include_current: false, ..Default::default() };
        let one = Subject::spiking(&plan, 1);
        assert!(check(loss, one, teacher).unwrap_err().contains("`time_steps` is 1"));
        let message = check(GradientAttention::default(), student, student).unwrap_err();
        assert!(
            message.contains("the gradient map at tap") && message.contains("`net`"),
            "{message}"
        );
    }
}
