//! Regularisation of the firing rate of each layer of neurons.
//!
//! ```text
//! L = Σ_l max(0, r_l − target)²         only above the target
//! L = Σ_l (r_l − target)²               towards the target
//! ```
//!
//! `r_l` is the firing rate of layer `l`: the number of its spikes divided by the number of its
//! neurons, time steps and images. So it is between 0 and 1, and each layer counts alike, however
//! many neurons it has. Zenke and Vogels ("The remarkable robustness of surrogate gradient
//! learning", 2021) regularise the activity of populations in such a way.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Probe, Probes};
use lasnn_nn::{LossPart, batch_mean};
use serde::{Deserialize, Serialize};

use crate::check::{LossError, Subject};
use crate::loss::{Described, LossInputs, LossKind, StudentLoss};

/// Regularisation of the firing rate of each layer of neurons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiringRate {
    /// The firing rate that a layer should have: spikes per neuron and time step.
    pub target: f64,
    /// Whether only layers above the target are changed. A layer that fires less often is what
    /// saves energy. Otherwise a layer below the target is made to fire more often.
    pub above_only: bool,
    /// The factor of the loss in the total.
    pub weight: f64,
}

impl Default for FiringRate {
    fn default() -> Self {
        Self { target: 0.05, above_only: true, weight: 1.0 }
    }
}

impl Described for FiringRate {
    const NAME: &'static str = "firing-rate";
    const ABOUT: &'static str =
        "Squared distance of the firing rate of each layer of neurons from a target, summed.";
    const SOURCE: &'static str =
        "after Zenke and Vogels, The remarkable robustness of surrogate gradient learning, 2021";
}

impl LossKind for FiringRate {
    fn weight(&self) -> f64 {
        self.weight
    }

    fn uses_labels(&self) -> bool {
        false
    }

    fn needs_teacher(&self) -> bool {
        false
    }

    fn student_probes(&self) -> Probes {
        Probes::from([Probe::SpikeCounts])
    }

    fn check(&self, _: Subject<'_>, _: Option<Subject<'_>>) -> Result<(), LossError> {
        match (0.0..=1.0).contains(&self.target) {
            true => Ok(()),
            false => Err(LossError::Value {
                key: "target",
                found: self.target.to_string(),
                expected: "a firing rate from 0 to 1",
            }),
        }
    }

    fn note(&self) -> Option<String> {
        let is_idle = self.above_only && self.target == 1.0;
        is_idle.then(|| "`target` is 1, and no layer has a firing rate above it".into())
    }
}

impl<B: Backend> StudentLoss<B> for FiringRate {
    fn parts(&self, inputs: &LossInputs<'_, B>) -> Vec<LossPart<B>> {
        let steps = inputs.time_steps as f64;
        let of_layer = |counts: &Tensor<B, 4>| {
            let per_image = counts.clone().flatten::<2>(1, 3).mean_dim(1) / steps;
            let excess = batch_mean(per_image) - self.target;
            let excess = if self.above_only { excess.clamp_min(0.0) } else { excess };
            excess.clone() * excess
        };
        let layers = inputs.student.spike_counts.iter().map(of_layer);
        let value = layers.reduce(|sum, layer| sum + layer);
        let value = value.unwrap_or_else(|| Tensor::zeros([1], &inputs.targets.device()));
        vec![LossPart { name: "firing_rate".into(), value }]
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;

    #[test]
    fn the_target_is_a_firing_rate() {
        let layers = vec![Layer::conv(2), Layer::Classifier { bias: false }];
        let image = Shape { channels: 1, height: 8, width: 8 };
        let plan = Architecture { name: "net".into(), layers }.plan(image, 10).unwrap();
        let check = |target| {
            let loss = FiringRate { target, ..Default::default() };
            loss.check(Subject::spiking(&plan, 4), None).map_err(|error| error.to_string())
        };
        assert_eq!((check(0.0), check(1.0)), (Ok(()), Ok(())));
        for target in [-0.1, 1.5, f64::NAN] {
            let text = check(target).unwrap_err();
            let words = format!("`target` is {target}, expected a firing rate from 0 to 1");
            assert_eq!(text, words);
        }
    }

    #[test]
    fn a_target_without_effect_is_noted() {
        let note = |target, above_only| FiringRate { target, above_only, weight: 1.0 }.note();
        assert!(note(1.0, true).unwrap().contains("`target` is 1"));
        assert_eq!((note(1.0, false), note(0.05, true)), (None, None));
    }
}
