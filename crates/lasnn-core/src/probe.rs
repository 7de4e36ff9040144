//! What a forward pass returns beside the logits (class scores).
//!
//! A loss names the values that it reads as probes. A pass computes the union of all probes, and
//! nothing else.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tap::Tap;

/// One kind of values that a forward pass can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// The logits of every time step.
    LogitsByStep,
    /// The feature map at a tap, before dropout and pooling: the activations of an ordinary
    /// network, or the firing rates of a spiking network.
    Features(Tap),
    /// The attention map of the feature map at a tap (Eq. 5-6).
    Attention(Tap),
    /// The spike activation map at a tap, for every time step.
    ActivationMap(Tap),
    /// The map of the gradient of the cross-entropy with respect to the feature map at a tap
    /// (Eq. 10).
    GradientMap(Tap),
    /// How often each neuron fires, for all layers of neurons.
    SpikeCounts,
    /// The membrane potentials at a tap, after every time step.
    Membranes(Tap),
}

impl Probe {
    /// The tap at which the network must have a layer.
    pub fn tap(self) -> Option<Tap> {
        match self {
            Self::Features(tap)
            | Self::Attention(tap)
            | Self::ActivationMap(tap)
            | Self::GradientMap(tap)
            | Self::Membranes(tap) => Some(tap),
            Self::LogitsByStep | Self::SpikeCounts => None,
        }
    }

    /// Whether only a spiking network has these values, since they are values of neurons or of time
    /// steps.
    pub fn is_spiking(self) -> bool {
        match self {
            Self::Features(_) | Self::Attention(_) | Self::GradientMap(_) => false,
            Self::LogitsByStep
            | Self::ActivationMap(_)
            | Self::SpikeCounts
            | Self::Membranes(_) => true,
        }
    }

    /// Whether only an ordinary network has these values, in a pass that knows the labels.
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::GradientMap(_))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogitsByStep => f.write_str("the logits of every time step"),
            Self::Features(tap) => write!(f, "the feature map at tap `{tap}`"),
            Self::Attention(tap) => write!(f, "the attention map at tap `{tap}`"),
            Self::ActivationMap(tap) => write!(f, "the spike activation map at tap `{tap}`"),
            Self::GradientMap(tap) => write!(f, "the gradient map at tap `{tap}`"),
            Self::SpikeCounts => f.write_str("the spike counts of all neurons"),
            Self::Membranes(tap) => write!(f, "the membrane potentials at tap `{tap}`"),
        }
    }
}

/// How spike activation maps count earlier spikes (Kim and Panda, "Visual explanations from spiking
/// neural networks using inter-spike intervals", 2021).
///
/// With the spikes `o^t` of a neuron, from `N^0 = o^0 = 0`:
///
/// ```text
/// N^t = e^-γ N^(t-1) + o^t              with the current spike
/// N^t = e^-γ (N^(t-1) + o^(t-1))        without it
/// map^t = Σ_c N^t_c o^t_c               the sum over the channels c
/// ```
///
/// [`Trace::NONE`] remembers nothing: its map is the sum of the spikes, and its gradient is that of
/// a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// The rate `γ` at which the contribution of a spike decays with each time step.
    pub gamma: f64,
    /// Whether the spike of the current time step contributes, as in the authors' code.
    pub include_current: bool,
}

impl Trace {
    /// The values of the authors' code.
    pub const PUBLISHED: Self = Self { gamma: 0.5, include_current: true };

    /// No memory of earlier spikes.
    pub const NONE: Self = Self { gamma: f64::INFINITY, include_current: true };

    /// Whether the map is the sum of the spikes of a time step.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::PUBLISHED
    }
}

/// A set of probes.
#[derive(Clone, Debug, PartialEq)]
pub struct Probes {
    set: BTreeSet<Probe>,
    /// How [`Probe::ActivationMap`] counts earlier spikes, one value for all taps.
    pub trace: Trace,
}

impl Probes {
    /// No probes: the logits alone.
    pub const NONE: Self = Self { set: BTreeSet::new(), trace: Trace::PUBLISHED };

    /// This set, with another trace for its spike activation maps.
    pub fn with_trace(self, trace: Trace) -> Self {
        Self { trace, ..self }
    }

    /// Whether the set has no probe.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Whether the set has a probe.
    pub fn contains(&self, probe: Probe) -> bool {
        self.set.contains(&probe)
    }

    /// The probes in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = Probe> + '_ {
        self.set.iter().copied()
    }

    /// Whether the set has a spike activation map.
    pub fn has_activation_map(&self) -> bool {
        self.iter().any(|probe| matches!(probe, Probe::ActivationMap(_)))
    }

    /// Whether a pass can return both sets: their traces agree, or at most one of them has a spike
    /// activation map.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.trace == other.trace || !self.has_activation_map() || !other.has_activation_map()
    }

    /// The probes of both sets, which must agree ([`Self::agrees_with`]).
    pub fn union(mut self, other: Self) -> Self {
        if !self.has_activation_map() {
            self.trace = other.trace;
        }
        self.set.extend(other.set);
        self
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromIterator<Probe> for Probes {
    fn from_iter<I: IntoIterator<Item = Probe>>(probes: I) -> Self {
        Self { set: probes.into_iter().collect(), ..Self::NONE }
    }
}

impl<const N: usize> From<[Probe; N]> for Probes {
    fn from(probes: [Probe; N]) -> Self {
        probes.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_has_the_probes_of_both_sets_once() {
        let (low, high) = (Probe::Attention(Tap::Low), Probe::Attention(Tap::High));
        let union = Probes::from([high, low]).union(Probes::from([low, Probe::SpikeCounts]));
        assert_eq!(union.iter().collect::<Vec<_>>(), [low, high, Probe::SpikeCounts]);
        assert!(union.contains(high) && !union.contains(Probe::LogitsByStep));
        assert!(Probes::NONE.union(Probes::NONE).is_empty());
    }

    #[test]
    fn the_trace_of_a_union_is_that_of_the_activation_maps() {
        let slow = Trace { gamma: 0.1, include_current: false };
        let map = |trace| Probes::from([Probe::ActivationMap(Tap::Low)]).with_trace(trace);
        let counts = Probes::from([Probe::SpikeCounts]);
        assert_eq!(counts.clone().union(map(slow)).trace, slow);
        assert_eq!(map(slow).union(counts.clone()).trace, slow);
        assert!(map(slow).agrees_with(&counts) && counts.agrees_with(&map(slow)));
        assert!(!map(slow).agrees_with(&map(Trace::PUBLISHED)));
    }

    #[test]
    fn only_values_of_time_steps_and_neurons_need_a_spiking_network() {
        assert!(!Probe::Features(Tap::Low).is_spiking());
        assert!(!Probe::GradientMap(Tap::Low).is_spiking());
        assert!(Probe::GradientMap(Tap::Low).is_ordinary());
        assert!(Probe::LogitsByStep.is_spiking() && Probe::SpikeCounts.is_spiking());
        assert_eq!(Probe::Membranes(Tap::High).tap(), Some(Tap::High));
        assert_eq!(Probe::SpikeCounts.tap(), None);
        assert_eq!(Probe::Attention(Tap::Low).to_string(), "the attention map at tap `low`");
    }
}
