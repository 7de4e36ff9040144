//! The `spiking` table of a recipe.

use lasnn_neurons::{Encoding, NeuronConfig, NeuronError};
use serde::{Deserialize, Serialize};

use crate::error::SnnError;

/// Everything about a spiking network but its layers and its number of time steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikingConfig {
    /// The neurons of every layer.
    pub neuron: NeuronConfig,
    /// How an image becomes the input of every time step.
    pub encoding: Encoding,
}

impl SpikingConfig {
    /// Checks that every number is in its range.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the expected range.
    pub fn check(&self) -> Result<(), SnnError> {
        self.neuron.check().map_err(|NeuronError { key, found, expected }| SnnError::Value {
            key,
            found: found.to_string(),
            expected,
        })
    }
}
