//! The options of a neuron model.
//!
//! Threshold and leak are not here, since they are numbers on a device. The equations of the neuron
//! are in the crate `lasnn-neurons`.

use serde::{Deserialize, Serialize};

use crate::surrogate::Surrogate;

/// How a spike changes the membrane potential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// The threshold is subtracted ("soft reset"); the part above the threshold remains.
    #[default]
    Subtract,
    /// The potential is set to zero ("hard reset").
    Zero,
}

impl Reset {
    /// All resets.
    pub const ALL: [Self; 2] = [Self::Subtract, Self::Zero];
}

/// Whether a neuron fires after or before it integrates the current of the time step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOrder {
    /// A current can cause a spike in its own time step (DIET-SNN).
    #[default]
    IntegrateThenFire,
    /// A current causes a spike in the next time step at the earliest (hybrid training), so every
    /// layer delays the signal by one time step.
    FireThenIntegrate,
}

impl StepOrder {
    /// All step orders.
    pub const ALL: [Self; 2] = [Self::IntegrateThenFire, Self::FireThenIntegrate];
}

/// The options of a neuron that are fixed while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeuronOptions {
    /// How a spike changes the membrane potential.
    pub reset: Reset,
    /// Whether the neuron integrates or fires first.
    pub step_order: StepOrder,
    /// The surrogate gradient, which replaces the derivative of a spike.
    pub surrogate: Surrogate,
}
