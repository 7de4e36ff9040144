//! Distillation of spikes in sliding windows, from a spiking teacher (after Kushawaha et al.,
//! "Distilling spikes: knowledge distillation in spiking neural networks", 2020).
//!
//! At a depth, the spikes of a time step are summed over the channels. The loss compares the means
//! of these maps over windows of time steps, window by window and image by image:
//!
//! ```text
//! W_k = mean of Σ_c o_c^t over t = k stride + 1 .. k stride + window
//! ```
//!
//! If the teacher has `n` times as many time steps as the student, the maps of each `n` of its
//! steps are averaged first. Because of the sum over the channels, networks of different width can
//! be compared. The publication compares single neurons; its code is not public, and docs/errata.md
//! has our choices.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Probe, Probes, Tap, Trace};
use lasnn_nn::LossPart;
use serde::{Deserialize, Serialize};

use crate::attention::{Distance, Normalise};
use crate::check::{LossError, Subject};
use crate::comparison::{Comparison, TEMPERATURE};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};

/// Distillation of spikes in sliding windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikeDistillation {
    /// The factor of the distance at each tap.
    pub weight: f64,
    /// The number of time steps of a window; at least 1 and at most the student's number.
    pub window: usize,
    /// The number of time steps between the beginnings of two windows; at least 1.
    pub stride: usize,
    /// What is done with each flattened map before two of them are compared. Without a
    /// normalisation, the number of channels counts.
    pub normalise: Normalise,
    /// The distance of two maps. It has no effect with [`Normalise::Softmax`].
    pub distance: Distance,
    /// The temperature τ of [`Normalise::Softmax`]. It has no effect otherwise.
    pub temperature: f64,
    /// The depths at which student and teacher are compared.
    pub taps: Vec<Tap>,
}

impl Default for SpikeDistillation {
    fn default() -> Self {
        Self {
            weight: 0.9,
            window: 2,
            stride: 1,
            normalise: Normalise::L2,
            distance: Distance::Norm,
            temperature: TEMPERATURE,
            taps: Tap::ALL.to_vec(),
        }
    }
}

impl Described for SpikeDistillation {
    const NAME: &'static str = "spike-distillation";
    const ABOUT: &'static str =
        "Distance of the spikes of student and spiking teacher in sliding windows.";
    const SOURCE: &'static str = "after Kushawaha et al., 2020";
}

impl SpikeDistillation {
    fn comparison(&self) -> Comparison<'_> {
        let Self { normalise, distance, temperature, ref taps, .. } = *self;
        Comparison { normalise, distance, temperature, taps }
    }

    fn probes(&self) -> Probes {
        let probes: Probes = self.taps.iter().map(|&tap| Probe::ActivationMap(tap)).collect();
        probes.with_trace(Trace::NONE)
    }

    /// The means over all windows, `[windows · batch, 1, height, width]`, of maps
    /// `[steps, batch, height, width]`.
    fn windows<B: Backend>(&self, maps: &Tensor<B, 4>) -> Tensor<B, 4> {
        let [steps, batch, height, width] = maps.dims();
        let starts = (0..=steps - self.window).step_by(self.stride);
        let mean = |start: usize| maps.clone().narrow(0, start, self.window).mean_dim(0);
        let windows: Vec<_> = starts.map(mean).collect();
        let count = windows.len();
        Tensor::cat(windows, 0).reshape([count * batch, 1, height, width])
    }
}

impl LossKind for SpikeDistillation {
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
        let steps = student.time_steps.unwrap_or(1);
        if !(1..=steps).contains(&self.window) {
            let (key, expected) = ("window", "at least 1 and at most `time_steps`");
            return Err(LossError::Value { key, found: self.window.to_string(), expected });
        }
        if self.stride == 0 {
            let (key, expected) = ("stride", "at least 1");
            return Err(LossError::Value { key, found: "0".into(), expected });
        }
        if let Some(of_teacher) = teacher.and_then(|teacher| teacher.time_steps)
            && !of_teacher.is_multiple_of(steps)
        {
            return Err(LossError::Steps { teacher: of_teacher, student: steps });
        }
        self.comparison().check(student, teacher)
    }

    fn note(&self) -> Option<String> {
        let comparison = self.comparison();
        comparison.note().or_else(|| comparison.weight_note(self.weight))
    }
}

impl<B: Backend> StudentLoss<B> for SpikeDistillation {
    /// # Panics
    ///
    /// If a network lacks a tap. [`check`](crate::check::check) finds this before training.
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let teacher = &inputs.teacher().activation_maps;
        let part = |tap: &Tap| {
            let student = &inputs.student.activation_maps[tap];
            let [steps, ..] = student.dims();
            let teacher = shortened(teacher[tap].clone(), steps);
            let value = self.comparison().value(self.windows(student), self.windows(&teacher));
            LossPart { name: format!("spike_distillation_{tap}"), value }
        };
        self.taps.iter().map(part).collect()
    }
}

/// Maps `[n · steps, batch, height, width]` as means over `n` steps each.
fn shortened<B: Backend>(maps: Tensor<B, 4>, steps: usize) -> Tensor<B, 4> {
    let [of_teacher, batch, height, width] = maps.dims();
    if of_teacher == steps {
        return maps;
    }
    let each = of_teacher / steps;
    let means: Tensor<B, 3> = maps.reshape([steps, each, batch * height * width]).mean_dim(1);
    means.reshape([steps, batch, height, width])
}
