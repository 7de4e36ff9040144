//! The neuron of a layer: what happens to membrane potentials in one time step, and back.
//!
//! The equations are those of `lasnn-neurons`' `neuron` module, in its order of operations, so a
//! step here has the same bits as one there.

use lasnn_core::neuron::{Reset, StepOrder};
use lasnn_core::surrogate::{Surrogate, atan, fast_sigmoid, linear, rectangular};
use pulp::Simd;

use crate::event::simd::{LANES, fired};

/// The neurons of one layer.
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
    pub(crate) fn step<S: Simd>(
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
    pub(crate) fn integrate<S: Simd>(&self, simd: S, u: &mut [f32], currents: &[f32]) {
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

    /// Takes the gradients `membrane_grad` of the membrane potentials `u` one step back in time, given
    /// the gradients `grad` of the spikes.
    #[inline(always)]
    pub(crate) fn step_back(&self, membrane_grad: &mut [f32], u: &[f32], grad: &[f32]) {
        match self.surrogate {
            Surrogate::Linear { damping } => {
                self.back(membrane_grad, u, grad, |z| linear(z, damping));
            }
            Surrogate::Atan { alpha } => self.back(membrane_grad, u, grad, |z| atan(z, alpha)),
            Surrogate::FastSigmoid { slope } => {
                self.back(membrane_grad, u, grad, |z| fast_sigmoid(z, slope));
            }
            Surrogate::Rectangular { width } => {
                self.back(membrane_grad, u, grad, |z| rectangular(z, width));
            }
        }
    }

    /// The largest derivative of a spike with respect to `z`, where 8 bits for the others will do and
    /// are all that the pass back needs: an error of 1/510 of it, with nothing far from the threshold.
    pub(crate) fn surrogate_max(&self) -> Option<f32> {
        match (self.reset, self.surrogate) {
            (Reset::Subtract, Surrogate::Linear { damping }) => Some(damping as f32),
            (Reset::Subtract, Surrogate::Rectangular { width }) => Some((1.0 / width) as f32),
            _ => None,
        }
    }

    /// Writes the derivatives of spikes for membrane potentials `u`, 255 for the largest one.
    #[inline(always)]
    pub(crate) fn surrogate_q8(&self, u: &[f32], surrogate_q8: &mut [u8]) {
        // Added to a small number, it leaves that rounded in the lowest bits.
        const ROUNDING: f32 = (1 << 23) as f32;
        let per_threshold = 1.0 / self.threshold;
        let distance = |u: f32| (u * per_threshold - 1.0).abs();
        match self.surrogate {
            Surrogate::Linear { .. } => {
                for (slope, &u) in surrogate_q8.iter_mut().zip(u) {
                    let height = (1.0 - distance(u)).max(0.0);
                    *slope = (height * 255.0 + ROUNDING).to_bits() as u8;
                }
            }
            Surrogate::Rectangular { width } => {
                for (slope, &u) in surrogate_q8.iter_mut().zip(u) {
                    *slope = if distance(u) < (width / 2.0) as f32 { 255 } else { 0 };
                }
            }
            Surrogate::Atan { .. } | Surrogate::FastSigmoid { .. } => {
                unreachable!("`surrogate_max` says that they are not kept")
            }
        }
    }

    /// What 1 stands for in [`Neurons::surrogate_q8`], with respect to membrane potentials.
    pub(crate) fn q8_scale(&self) -> f32 {
        self.surrogate_max().unwrap_or(0.0) / (255.0 * self.threshold)
    }

    /// [`Neurons::step_back`], given the derivatives that [`Neurons::surrogate_q8`] wrote, and their
    /// [unit](Self::unit).
    #[inline(always)]
    pub(crate) fn step_back_along(
        &self,
        membrane_grad: &mut [f32],
        (surrogate_q8, unit): (&[u8], f32),
        grad: &[f32],
    ) {
        for ((membrane_grad, &slope), &grad) in membrane_grad.iter_mut().zip(surrogate_q8).zip(grad)
        {
            *membrane_grad = grad * (unit * f32::from(slope)) + self.leak * *membrane_grad;
        }
    }

    #[inline(always)]
    fn back(&self, membrane_grad: &mut [f32], u: &[f32], grad: &[f32], slope: impl Fn(f32) -> f32) {
        let Self { threshold, leak, .. } = *self;
        let from_spike = |u: f32, grad: f32| grad * slope(u / threshold - 1.0) / threshold;
        match self.reset {
            Reset::Subtract => {
                for ((membrane_grad, &u), &grad) in membrane_grad.iter_mut().zip(u).zip(grad) {
                    *membrane_grad = from_spike(u, grad) + leak * *membrane_grad;
                }
            }
            Reset::Zero => {
                for ((membrane_grad, &u), &grad) in membrane_grad.iter_mut().zip(u).zip(grad) {
                    let kept = if u > threshold { 0.0 } else { 1.0 };
                    *membrane_grad = from_spike(u, grad) + leak * *membrane_grad * kept;
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
            let (grad, mut surrogate_q8) = (vec![1.0; u.len()], vec![0; u.len()]);
            neurons.step_back(&mut exact, &u, &grad);
            neurons.surrogate_q8(&u, &mut surrogate_q8);
            neurons.step_back_along(&mut found, (&surrogate_q8, neurons.q8_scale()), &grad);
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
        assert_eq!(neurons.surrogate_max(), None);
        let surrogate = Surrogate::Linear { damping: 0.3 };
        assert_eq!(Neurons { surrogate, ..neurons }.surrogate_max(), Some(0.3));
        assert_eq!(Neurons { surrogate, reset: Reset::Zero, ..neurons }.surrogate_max(), None);
    }
}
