//! The options of a neuron model.
//!
//! Threshold and leak are not here, since they are numbers on a device. The equations of the neuron
//! are in the crate `lasnn-neurons`.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
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

    /// The names of all resets, in the order of [`Self::ALL`].
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "subtract",
            about: "a spike subtracts the threshold (soft reset)",
            source: "LaSNN, Eq. 1",
        },
        Kind {
            name: "zero",
            about: "a spike sets the membrane potential to zero (hard reset)",
            source: "LaSNN, in its text",
        },
    ];
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

    /// The names of all step orders, in the order of [`Self::ALL`].
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "integrate-then-fire",
            about: "a current can cause a spike in its own time step",
            source: "Rathi and Roy 2020 (DIET-SNN)",
        },
        Kind {
            name: "fire-then-integrate",
            about: "a current causes a spike in the next time step at the earliest",
            source: "Rathi et al. 2020 (hybrid training)",
        },
    ];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_its_kind() {
        let read = |kind: &Kind| serde_json::from_value(kind.name.into()).unwrap();
        let resets: Vec<Reset> = Reset::KINDS.iter().map(read).collect();
        assert_eq!(resets, Reset::ALL);
        for reset in resets {
            // A variant that is added must be added to the lists, too.
            match reset {
                Reset::Subtract | Reset::Zero => {}
            }
        }
        let read = |kind: &Kind| serde_json::from_value(kind.name.into()).unwrap();
        let orders: Vec<StepOrder> = StepOrder::KINDS.iter().map(read).collect();
        assert_eq!(orders, StepOrder::ALL);
        for order in orders {
            match order {
                StepOrder::IntegrateThenFire | StepOrder::FireThenIntegrate => {}
            }
        }
    }
}
