//! Surrogate gradients, which replace the derivative of a spike in the backward pass.
//!
//! A spike `s` is a step function of `z = u / v - 1`, the distance of the membrane potential `u`
//! from the threshold `v` in units of the threshold. The derivative of a step function is zero or
//! infinite. Training replaces it by a function `σ'(z)` that is largest around `z = 0`, so that
//! `ds/du = σ'(z) / v`.

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

impl Default for Surrogate {
    fn default() -> Self {
        Self::Linear { damping: damping() }
    }
}

impl Surrogate {
    /// Every kind with its default parameter.
    pub const ALL: [Self; 4] = [
        Self::Linear { damping: 0.3 },
        Self::Atan { alpha: 2.0 },
        Self::FastSigmoid { slope: 10.0 },
        Self::Rectangular { width: 1.0 },
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
    ];

    /// The name of the kind in recipes.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Atan { .. } => "atan",
            Self::FastSigmoid { .. } => "fast-sigmoid",
            Self::Rectangular { .. } => "rectangular",
        }
    }

    /// The recipe key of the parameter, and its value.
    pub fn parameter(&self) -> (&'static str, f64) {
        match *self {
            Self::Linear { damping } => ("surrogate.damping", damping),
            Self::Atan { alpha } => ("surrogate.alpha", alpha),
            Self::FastSigmoid { slope } => ("surrogate.slope", slope),
            Self::Rectangular { width } => ("surrogate.width", width),
        }
    }

    /// `σ'(z)` in `f64`.
    pub fn derivative(&self, z: f64) -> f64 {
        match *self {
            Self::Linear { damping } => linear(z, damping),
            Self::Atan { alpha } => atan(z, alpha),
            Self::FastSigmoid { slope } => fast_sigmoid(z, slope),
            Self::Rectangular { width } => rectangular(z, width),
        }
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
}
