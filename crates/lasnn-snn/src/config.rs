//! The `spiking` table of a recipe.

use lasnn_neurons::{Encoding, NeuronConfig, NeuronError, Reset, StepOrder, Surrogate};
use serde::{Deserialize, Serialize};

use crate::error::SnnError;

/// Everything about a spiking network but its layers and its number of time steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikingConfig {
    /// The leak λ of Eq. 1, one value for all neurons; 1 makes them integrate-and-fire.
    pub leak: f64,
    /// What a spike does to the membrane potential.
    pub reset: Reset,
    /// Whether a neuron fires before or after it integrates its current.
    pub step_order: StepOrder,
    /// The surrogate gradient: the derivative used in place of the spike's.
    pub surrogate: Surrogate,
    /// How an image becomes the input of every time step.
    pub encoding: Encoding,
}

impl Default for SpikingConfig {
    fn default() -> Self {
        let NeuronConfig { leak, reset, step_order, surrogate } = NeuronConfig::default();
        Self { leak, reset, step_order, surrogate, encoding: Encoding::default() }
    }
}

impl SpikingConfig {
    /// The neurons of every layer.
    pub fn neurons(&self) -> NeuronConfig {
        let Self { leak, reset, step_order, surrogate, .. } = *self;
        NeuronConfig { leak, reset, step_order, surrogate }
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
