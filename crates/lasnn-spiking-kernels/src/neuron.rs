//! The neuron of a site: what happens to membrane potentials in one time step, and back.
//!
//! The equations are those of `lasnn-neurons`' `neuron` module, in its order of operations, so a
//! step here has the same bits as one there.

use pulp::Simd;

use super::simd::{LANES, fired};

/// What a neuron does to its membrane potential when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The threshold is subtracted.
    Subtract,
    /// It becomes 0.
    Zero,
}

/// What comes first in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOrder {
    /// The current of a step counts for the spike of that step.
    IntegrateThenFire,
    /// A spike follows from the membrane potential that the step before left.
    FireThenIntegrate,
}

/// The derivative of a spike with respect to `z = u / v - 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrogate {
    /// `damping · max(0, 1 - |z|)`.
    Linear {
        /// The height of the triangle.
        damping: f64,
    },
    /// `(alpha / 2) / (1 + (π/2 · alpha · z)²)`.
    Atan {
        /// Steepness.
        alpha: f64,
    },
    /// `1 / (1 + slope · |z|)²`.
    FastSigmoid {
        /// Steepness.
        slope: f64,
    },
    /// `1 / width` where `|z| < width / 2`, else 0.
    Rectangular {
        /// The width of the rectangle.
        width: f64,
    },
}

/// The neurons of one site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neurons {
    /// The membrane potential above which a neuron fires; above 0.
    pub threshold: f32,
    /// What is left of a membrane potential after one step; above 0 and at most 1.
    pub leak: f32,
    /// What a spike does to the membrane potential.
    pub reset: Reset,
    /// What comes first in a step.
    pub step_order: StepOrder,
    /// What the backward pass takes for the derivative of a spike.
    pub surrogate: Surrogate,
}

impl Neurons {
    /// Advances the membrane potentials `u` by one step of `currents` and writes who fired, a bit
    /// each; both have [`LANES`] numbers for each of `spikes`.
    #[inline(always)]
    pub(super) fn step<S: Simd>(
        &self,
        simd: S,
        u: &mut [f32],
        currents: &[f32],
        spikes: &mut [u16],
    ) {
        let rows = u.as_chunks_mut::<LANES>().0.iter_mut().zip(currents.as_chunks::<LANES>().0);
        for ((u, currents), spikes) in rows.zip(spikes) {
            match self.step_order {
                StepOrder::IntegrateThenFire => {
                    self.integrate(simd, u, currents);
                    *spikes = fired(simd, u, self.threshold);
                }
                StepOrder::FireThenIntegrate => {
                    *spikes = fired(simd, u, self.threshold);
                    self.integrate(simd, u, currents);
                }
            }
        }
    }

    /// Resets what fired in the step before, then leaks and adds the currents.
    #[inline(always)]
    pub(super) fn integrate<S: Simd>(&self, simd: S, u: &mut [f32], currents: &[f32]) {
        let [zero, threshold, leak] = [0.0, self.threshold, self.leak].map(|x| simd.splat_f32s(x));
        let u = S::as_mut_simd_f32s(u).0;
        for (u, &current) in u.iter_mut().zip(S::as_simd_f32s(currents).0) {
            let has_fired = simd.greater_than_f32s(*u, threshold);
            let left = simd.mul_f32s(leak, *u);
            *u = match self.reset {
                Reset::Subtract => {
                    let lost = simd.select_f32s(has_fired, threshold, zero);
                    simd.sub_f32s(simd.add_f32s(left, current), lost)
                }
                Reset::Zero => {
                    let left = simd.select_f32s(has_fired, zero, left);
                    simd.add_f32s(left, current)
                }
            };
        }
    }

    /// Takes the gradients `delta` of the membrane potentials `u` one step back in time, given
    /// the gradients `grad` of the spikes.
    #[inline(always)]
    pub(super) fn step_back(&self, delta: &mut [f32], u: &[f32], grad: &[f32]) {
        match self.surrogate {
            Surrogate::Linear { damping } => self.back(delta, u, grad, |z| {
                let height = 1.0 - z.abs();
                damping as f32 * if height > 0.0 { height } else { 0.0 }
            }),
            Surrogate::Atan { alpha } => self.back(delta, u, grad, |z| {
                let x = z * (std::f64::consts::FRAC_PI_2 * alpha) as f32;
                (alpha / 2.0) as f32 / (x * x + 1.0)
            }),
            Surrogate::FastSigmoid { slope } => self.back(delta, u, grad, |z| {
                let x = z.abs() * slope as f32 + 1.0;
                1.0 / (x * x)
            }),
            Surrogate::Rectangular { width } => self.back(delta, u, grad, |z| {
                if z.abs() < (width / 2.0) as f32 { (1.0 / width) as f32 } else { 0.0 }
            }),
        }
    }

    /// The largest derivative of a spike with respect to `z`, where 8 bits for the others will do and
    /// are all that the pass back needs: an error of 1/510 of it, with nothing far from the threshold.
    pub(super) fn steepest(&self) -> Option<f32> {
        match (self.reset, self.surrogate) {
            (Reset::Subtract, Surrogate::Linear { damping }) => Some(damping as f32),
            (Reset::Subtract, Surrogate::Rectangular { width }) => Some((1.0 / width) as f32),
            _ => None,
        }
    }

    /// Writes the derivatives of spikes for membrane potentials `u`, 255 for the largest one.
    #[inline(always)]
    pub(super) fn slopes(&self, u: &[f32], slopes: &mut [u8]) {
        // Added to a small number, it leaves that rounded in the lowest bits.
        const ROUNDING: f32 = (1 << 23) as f32;
        let per_threshold = 1.0 / self.threshold;
        let distance = |u: f32| (u * per_threshold - 1.0).abs();
        match self.surrogate {
            Surrogate::Linear { .. } => {
                for (slope, &u) in slopes.iter_mut().zip(u) {
                    let height = (1.0 - distance(u)).max(0.0);
                    *slope = (height * 255.0 + ROUNDING).to_bits() as u8;
                }
            }
            Surrogate::Rectangular { width } => {
                for (slope, &u) in slopes.iter_mut().zip(u) {
                    *slope = if distance(u) < (width / 2.0) as f32 { 255 } else { 0 };
                }
            }
            Surrogate::Atan { .. } | Surrogate::FastSigmoid { .. } => {
                unreachable!("`steepest` says that they are not kept")
            }
        }
    }

    /// What 1 stands for in [`Neurons::slopes`], with respect to membrane potentials.
    pub(super) fn unit(&self) -> f32 {
        self.steepest().unwrap_or(0.0) / (255.0 * self.threshold)
    }

    /// [`Neurons::step_back`], given the derivatives that [`Neurons::slopes`] wrote, and their
    /// [unit](Self::unit).
    #[inline(always)]
    pub(super) fn step_back_along(
        &self,
        delta: &mut [f32],
        (slopes, unit): (&[u8], f32),
        grad: &[f32],
    ) {
        for ((delta, &slope), &grad) in delta.iter_mut().zip(slopes).zip(grad) {
            *delta = grad * (unit * f32::from(slope)) + self.leak * *delta;
        }
    }

    #[inline(always)]
    fn back(&self, delta: &mut [f32], u: &[f32], grad: &[f32], slope: impl Fn(f32) -> f32) {
        let Self { threshold, leak, .. } = *self;
        let from_spike = |u: f32, grad: f32| grad * slope(u / threshold - 1.0) / threshold;
        match self.reset {
            Reset::Subtract => {
                for ((delta, &u), &grad) in delta.iter_mut().zip(u).zip(grad) {
                    *delta = from_spike(u, grad) + leak * *delta;
                }
            }
            Reset::Zero => {
                for ((delta, &u), &grad) in delta.iter_mut().zip(u).zip(grad) {
                    let kept = if u > threshold { 0.0 } else { 1.0 };
                    *delta = from_spike(u, grad) + leak * *delta * kept;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_hold_the_derivative() {
        for surrogate in [Surrogate::Linear { damping: 0.3 }, Surrogate::Rectangular { width: 1.3 }]
        {
            let neurons = Neurons {
                threshold: 0.7,
                leak: 1.0,
                reset: Reset::Subtract,
                step_order: StepOrder::IntegrateThenFire,
                surrogate,
            };
            let u: Vec<f32> = (-300..600).map(|i| i as f32 / 200.0).collect();
            let (mut exact, mut found) = (vec![0.0; u.len()], vec![0.0; u.len()]);
            let (grad, mut slopes) = (vec![1.0; u.len()], vec![0; u.len()]);
            neurons.step_back(&mut exact, &u, &grad);
            neurons.slopes(&u, &mut slopes);
            neurons.step_back_along(&mut found, (&slopes, neurons.unit()), &grad);
            let largest = exact.iter().copied().fold(0.0, f32::max);
            assert!(largest > 0.0 && exact.contains(&0.0));
            for ((exact, found), u) in exact.iter().zip(&found).zip(&u) {
                let error = (exact - found).abs() / largest;
                assert!(error < 1.01 / 510.0, "{found} instead of {exact} at {u}");
            }
        }
    }

    #[test]
    fn derivatives_without_an_end_are_not_kept_in_8_bits() {
        let neurons = Neurons {
            threshold: 1.0,
            leak: 1.0,
            reset: Reset::Subtract,
            step_order: StepOrder::IntegrateThenFire,
            surrogate: Surrogate::Atan { alpha: 2.0 },
        };
        assert_eq!(neurons.steepest(), None);
        let surrogate = Surrogate::Linear { damping: 0.3 };
        assert_eq!(Neurons { surrogate, ..neurons }.steepest(), Some(0.3));
        assert_eq!(Neurons { surrogate, reset: Reset::Zero, ..neurons }.steepest(), None);
    }
}
