//! The options of a neuron model that are not numbers on a device.
//!
//! `lasnn-neurons` has the equations.

use serde::{Deserialize, Serialize};

use crate::surrogate::Surrogate;

/// What a spike does to the membrane potential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// It takes the threshold away ("soft reset"); what was above the threshold stays.
    #[default]
    Subtract,
    /// It sets the potential to zero.
    Zero,
}

impl Reset {
    /// All resets.
    pub const ALL: [Self; 2] = [Self::Subtract, Self::Zero];
}

/// Whether a step fires from the membrane potential after or before its own current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOrder {
    /// A current can cause a spike in its own step (DIET-SNN).
    #[default]
    IntegrateThenFire,
    /// A current causes a spike in the next step at the earliest (hybrid training), so that every
    /// layer delays the signal by one step.
    FireThenIntegrate,
}

impl StepOrder {
    /// All step orders.
    pub const ALL: [Self; 2] = [Self::IntegrateThenFire, Self::FireThenIntegrate];
}

/// What of a neuron is fixed while it runs; threshold and leak are numbers on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeuronOptions {
    /// What a spike does to the membrane potential.
    pub reset: Reset,
    /// When a step fires.
    pub step_order: StepOrder,
    /// The derivative of a spike.
    pub surrogate: Surrogate,
}
