//! How a recipe says what the spiking network is.

use lasnn_neurons::{Encoding, NeuronConfig, NeuronError, Readout, Reset, StepOrder, Surrogate};
use serde::{Deserialize, Serialize};

use crate::error::SnnError;

/// The `spiking` table of a recipe: everything about the spiking network but its layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikingConfig {
    /// λ of Eq. 1, one value for all neurons; 1 makes them integrate-and-fire.
    pub leak: f64,
    /// What a spike does to the membrane.
    pub reset: Reset,
    /// Whether a neuron fires before or after it integrates.
    pub step_order: StepOrder,
    /// The derivative that stands in for that of the spike.
    pub surrogate: Surrogate,
    /// How an image becomes input.
    pub encoding: Encoding,
    /// How the last layer's membrane becomes class scores.
    pub readout: Readout,
}

impl Default for SpikingConfig {
    fn default() -> Self {
        let NeuronConfig { leak, reset, step_order, surrogate } = NeuronConfig::default();
        let (encoding, readout) = (Encoding::default(), Readout::default());
        Self { leak, reset, step_order, surrogate, encoding, readout }
    }
}

impl SpikingConfig {
    /// The neurons of every layer.
    pub fn neurons(&self) -> NeuronConfig {
        let Self { leak, reset, step_order, surrogate, .. } = *self;
        NeuronConfig { leak, reset, step_order, surrogate }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// Names the key, the value and what was expected.
    pub fn check(&self) -> Result<(), SnnError> {
        self.neurons().check().map_err(|NeuronError { key, found, expected }| SnnError::Value {
            key,
            found: found.to_string(),
            expected,
        })
    }
}
