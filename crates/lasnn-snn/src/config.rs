//! The `spiking` table of a recipe.

use lasnn_neurons::{
    Encoding, InitialMembraneConfig, LeakConfig, NeuronConfig, NeuronError, Reset, StepOrder,
    Surrogate, ThresholdConfig,
};
use serde::{Deserialize, Serialize};

use crate::error::SnnError;

/// Everything about a spiking network but its layers and its number of time steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikingConfig {
    /// The leak λ of Eq. 1; 1 makes the neurons integrate-and-fire.
    pub leak: LeakConfig,
    /// Which neurons share a threshold, and whether thresholds are trained.
    #[serde(skip_serializing_if = "is_default")]
    pub threshold: ThresholdConfig,
    /// The membrane potentials before the first step, in thresholds.
    #[serde(skip_serializing_if = "is_default")]
    pub initial_membrane: InitialMembraneConfig,
    /// What a spike does to the membrane potential.
    pub reset: Reset,
    /// Whether a neuron fires before or after it integrates its current.
    pub step_order: StepOrder,
    /// The surrogate gradient: the derivative used in place of the spike's.
    pub surrogate: Surrogate,
    /// How an image becomes the input of every time step.
    pub encoding: Encoding,
}

/// Whether a table has its default, so that it need not be written.
fn is_default<T: Default + PartialEq>(table: &T) -> bool {
    *table == T::default()
}

impl Default for SpikingConfig {
    fn default() -> Self {
        let NeuronConfig { leak, threshold, initial_membrane, reset, step_order, surrogate } =
            NeuronConfig::default();
        let encoding = Encoding::default();
        Self { leak, threshold, initial_membrane, reset, step_order, surrogate, encoding }
    }
}

impl SpikingConfig {
    /// The neurons of every layer.
    pub fn neurons(&self) -> NeuronConfig {
        let Self { leak, threshold, initial_membrane, reset, step_order, surrogate, .. } = *self;
        NeuronConfig { leak, threshold, initial_membrane, reset, step_order, surrogate }
    }

    /// Checks that every number is in its range.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the expected range.
    pub fn check(&self) -> Result<(), SnnError> {
        self.neurons().check().map_err(|NeuronError { key, found, expected }| SnnError::Value {
            key,
            found: found.to_string(),
            expected,
        })
    }
}
