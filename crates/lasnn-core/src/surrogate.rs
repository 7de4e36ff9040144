//! Surrogate gradients, which replace the derivative of a spike in the backward pass.
//!
//! A spike `s` is a step function of `z = u / v - 1`, the distance of the membrane potential `u`
//! from the threshold `v` in units of the threshold. The derivative of a step function is zero or
//! infinite. Training replaces it by a function `σ'(z)` that is largest around `z = 0`, so that
//! `ds/du = σ'(z) / v`.
//!
//! [`Surrogate::SpikeTime`] looks at the time since the last spike of the neuron in place of `z`.
//! Its derivative is a state of the neuron, which [`SpikeTrace`] takes from step to step.

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// The derivative of a spike with respect to `z = u / v - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Surrogate {
    /// `damping · max(0, 1 - |z|)`, the triangle of Bellec et al. 2018 and of the LaSNN paper
    /// (Eq. 14 with damping 1, Eq. 15 with 0.3).
    Linear {
        /// The height of the triangle, `γ` in Eq. 15.
        #[serde(default = "damping")]
        damping: f64,
    },
    /// `(alpha / 2) / (1 + (π/2 · alpha · z)²)`, the derivative of an arc tangent (Fang et al.
    /// 2021).
    Atan {
        /// Steepness.
        #[serde(default = "alpha")]
        alpha: f64,
    },
    /// `1 / (1 + slope · |z|)²`, the fast sigmoid of SuperSpike (Zenke and Ganguli 2018).
    FastSigmoid {
        /// Steepness.
        #[serde(default = "slope")]
        slope: f64,
    },
    /// `1 / width` where `|z| < width / 2`, else 0 (Wu et al. 2018).
    Rectangular {
        /// The width of the rectangle; its area is 1.
        #[serde(default = "width")]
        width: f64,
    },
    /// `alpha · exp(-beta · Δt)`, whatever `z` is (Rathi et al. 2020, "STDB").
    ///
    /// At step `t`, counted from 1, `Δt` is the number of steps since the last spike of the neuron
    /// before this step. The spike of the step itself does not count, so `Δt` is at least 1. A
    /// neuron that starts above its threshold has fired at step 0. One that has not fired yet has
    /// `Δt = t + 999`, as if it had fired long ago. `Δt` is a constant for the gradient.
    SpikeTime {
        /// The derivative right after a spike.
        #[serde(default = "spike_time_alpha")]
        alpha: f64,
        /// The decay for each time step.
        #[serde(default = "spike_time_beta")]
        beta: f64,
    },
}

fn damping() -> f64 {
    0.3
}

fn alpha() -> f64 {
    2.0
}

fn slope() -> f64 {
    10.0
}

fn width() -> f64 {
    1.0
}

fn spike_time_alpha() -> f64 {
    0.3
}

fn spike_time_beta() -> f64 {
    0.01
}

/// `Δt` at step 0 of a neuron that has not fired. The public code of the method takes 1000 at the
/// first step.
const NEVER: f64 = 999.0;

impl Default for Surrogate {
    fn default() -> Self {
        Self::Linear { damping: damping() }
    }
}

impl Surrogate {
    /// Every kind with its default parameters.
    pub const ALL: [Self; 5] = [
        Self::Linear { damping: 0.3 },
        Self::Atan { alpha: 2.0 },
        Self::FastSigmoid { slope: 10.0 },
        Self::Rectangular { width: 1.0 },
        Self::SpikeTime { alpha: 0.3, beta: 0.01 },
    ];

    /// The names of all kinds, in the order of [`Self::ALL`].
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "linear",
            about: "damping · max(0, 1 - |z|), a triangle around the threshold",
            source: "Bellec et al. 2018; LaSNN, Eq. 14 and 15",
        },
        Kind {
            name: "atan",
            about: "the derivative of an arc tangent",
            source: "Fang et al. 2021",
        },
        Kind {
            name: "fast-sigmoid",
            about: "1 / (1 + slope · |z|)², the derivative of a fast sigmoid",
            source: "Zenke and Ganguli 2018 (SuperSpike)",
        },
        Kind {
            name: "rectangular",
            about: "1 / width where |z| < width / 2, else 0",
            source: "Wu et al. 2018 (STBP)",
        },
        Kind {
            name: "spike-time",
            about: "alpha · exp(-beta · Δt), Δt steps after the last spike; no fused kernel",
            source: "Rathi et al. 2020 (STDB)",
        },
    ];

    /// The name of the kind in recipes.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Atan { .. } => "atan",
            Self::FastSigmoid { .. } => "fast-sigmoid",
            Self::Rectangular { .. } => "rectangular",
            Self::SpikeTime { .. } => "spike-time",
        }
    }

    /// The recipe keys of the parameters, and their values.
    pub fn parameters(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Self::Linear { damping } => vec![("surrogate.damping", damping)],
            Self::Atan { alpha } => vec![("surrogate.alpha", alpha)],
            Self::FastSigmoid { slope } => vec![("surrogate.slope", slope)],
            Self::Rectangular { width } => vec![("surrogate.width", width)],
            Self::SpikeTime { alpha, beta } => {
                vec![("surrogate.alpha", alpha), ("surrogate.beta", beta)]
            }
        }
    }

    /// Whether the derivative follows from `z` alone, and not from earlier spikes of the neuron.
    pub fn follows_from_z(&self) -> bool {
        !matches!(self, Self::SpikeTime { .. })
    }

    /// The derivative in `f64` at `z`, `since_spike` time steps after the last spike of the neuron.
    pub fn derivative(&self, z: f64, since_spike: f64) -> f64 {
        match *self {
            Self::Linear { damping } => linear(z, damping),
            Self::Atan { alpha } => atan(z, alpha),
            Self::FastSigmoid { slope } => fast_sigmoid(z, slope),
            Self::Rectangular { width } => rectangular(z, width),
            Self::SpikeTime { alpha, beta } => alpha * (-beta * since_spike).exp(),
        }
    }
}

/// The derivative of [`Surrogate::SpikeTime`] from one time step to the next.
///
/// With the spikes `o` of the neuron, the derivative `d` at step `t` is
///
/// ```text
/// d^0 = alpha exp(-999 beta)
/// d^t = exp(-beta) alpha      if o^{t-1} = 1
/// d^t = exp(-beta) d^{t-1}    else
/// ```
///
/// Products in place of an exponential function give the same bits on every backend that rounds
/// like the CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpikeTrace {
    /// `d^0`.
    pub start: f64,
    /// The derivative that a spike leaves, before it decays: `alpha`.
    pub after_spike: f64,
    /// The factor of a time step: `exp(-beta)`.
    pub decay: f64,
}

impl SpikeTrace {
    /// The trace of a surrogate, or `None` if its derivative follows from `z`.
    pub fn of(surrogate: Surrogate) -> Option<Self> {
        let Surrogate::SpikeTime { alpha, beta } = surrogate else { return None };
        let start = surrogate.derivative(0.0, NEVER);
        Some(Self { start, after_spike: alpha, decay: (-beta).exp() })
    }
}

/// The number type of the CPU kernels: `f32`, or `f64` in tests that compare with finite
/// differences.
pub trait Real:
    Copy
    + PartialOrd
    + Send
    + Sync
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The number of this type that is nearest to `value`.
    fn of(value: f64) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline]
            fn of(value: f64) -> Self {
                value as Self
            }

            #[inline]
            fn abs(self) -> Self {
                self.abs()
            }
        }
    };
}

real!(f32);
real!(f64);

// One function for each kind, so that a kernel can select the kind before its loop.

/// The derivative of [`Surrogate::Linear`].
#[inline(always)]
pub fn linear<F: Real>(z: F, damping: f64) -> F {
    let height = F::ONE - z.abs();
    F::of(damping) * if height > F::ZERO { height } else { F::ZERO }
}

/// The derivative of [`Surrogate::Atan`].
#[inline(always)]
pub fn atan<F: Real>(z: F, alpha: f64) -> F {
    let x = z * F::of(FRAC_PI_2 * alpha);
    F::of(alpha / 2.0) / (x * x + F::ONE)
}

/// The derivative of [`Surrogate::FastSigmoid`].
#[inline(always)]
pub fn fast_sigmoid<F: Real>(z: F, slope: f64) -> F {
    let x = z.abs() * F::of(slope) + F::ONE;
    F::ONE / (x * x)
}

/// The derivative of [`Surrogate::Rectangular`].
#[inline(always)]
pub fn rectangular<F: Real>(z: F, width: f64) -> F {
    if z.abs() < F::of(width / 2.0) { F::of(1.0 / width) } else { F::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_its_kind() {
        let read = |kind: &Kind| {
            let table = serde_json::json!({"kind": kind.name});
            let surrogate: Surrogate = serde_json::from_value(table).unwrap();
            // `kind` has an exhaustive match, so a variant that is added gets a name.
            assert_eq!(surrogate.kind(), kind.name);
            surrogate
        };
        let read: Vec<Surrogate> = Surrogate::KINDS.iter().map(read).collect();
        assert_eq!(read, Surrogate::ALL);
    }

    /// The public code counts steps from 0 and begins with a last spike at step -1000.
    #[test]
    fn a_trace_is_the_formula_of_the_time_since_the_last_spike() {
        let surrogate = Surrogate::SpikeTime { alpha: 0.7, beta: 0.02 };
        let SpikeTrace { start, after_spike, decay } = SpikeTrace::of(surrogate).unwrap();
        let (mut trace, mut last_spike) = (start, -1000.0);
        let mut has_fired_before = false;
        for step in 0..60 {
            trace = decay * if has_fired_before { after_spike } else { trace };
            let expected = 0.7 * (-0.02 * (f64::from(step) - last_spike)).exp();
            assert!((trace - expected).abs() < 1e-13 * expected, "step {step}: {trace}");
            has_fired_before = [9, 10, 30].contains(&step);
            if has_fired_before {
                last_spike = step.into();
            }
        }
        assert_eq!(SpikeTrace::of(Surrogate::default()), None);
    }
}
