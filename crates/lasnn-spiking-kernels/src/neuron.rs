//! The neurons of a layer: one time step of their membrane potentials, forward and backward.
//!
//! With the current `I^t`, the threshold `v` and the leak `λ`, from rest `u^0 = 0`, `o^0 = 0`:
//!
//! ```text
//! u^t = λ u^{t-1} + I^t - v o^{t-1}        reset `subtract`
//! u^t = λ u^{t-1} (1 - o^{t-1}) + I^t      reset `zero`
//! o^t = 1 if u^t > v, else 0
//! s^t = o^t                                step order `integrate-then-fire`
//! s^t = o^{t-1}                            step order `fire-then-integrate`
//! ```
//!
//! With the gradient `g` of the loss with respect to the spike that `u^t` decides, the surrogate
//! derivative `σ'` and `z = u / v - 1`, the gradient `δ` of the membrane potential is
//!
//! ```text
//! δ^t = g σ'(z^t) / v + λ δ^{t+1}
//! ```
//!
//! where the reset `zero` multiplies `λ δ^{t+1}` by `1 - o^t`. The equations are those of the
//! `neuron` module of `lasnn-neurons`, in the same order of operations. So one step gives the same
//! bits here and there.

use lasnn_core::neuron::{Reset, StepOrder};
use lasnn_core::surrogate::{Surrogate, atan, fast_sigmoid, linear, rectangular};
use pulp::{Simd, bytemuck};

use crate::spikes::LANES;

/// The neurons of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neurons {
    /// A neuron fires if its membrane potential is above the threshold `v`. It is above 0.
    pub threshold: f32,
    /// The share `λ` of the membrane potential that is left after a step, above 0 and at most 1.
    pub leak: f32,
    /// What a spike does to the membrane potential.
    pub reset: Reset,
    /// Whether a step integrates or fires first.
    pub step_order: StepOrder,
    /// The function whose value the backward pass takes for the derivative of a spike.
    pub surrogate: Surrogate,
}

impl Neurons {
    /// Advances the membrane potentials `u` by one step of `currents` and writes one bit per neuron
    /// to `spikes`. `u` and `currents` have [`LANES`] numbers for each word of `spikes`.
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

    /// Resets the neurons that fired in the step before, then leaks and adds the currents.
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

    /// Takes the gradients `membrane_grad` one step back in time, to the membrane potentials `u`.
    /// `grad` holds the gradients with respect to the spikes that `u` decides.
    #[inline(always)]
    pub(crate) fn step_back(&self, membrane_grad: &mut [f32], u: &[f32], grad: &[f32]) {
        match self.surrogate {
            Surrogate::Linear { damping } => {
                self.step_back_with(membrane_grad, u, grad, |z| linear(z, damping));
            }
            Surrogate::Atan { alpha } => {
                self.step_back_with(membrane_grad, u, grad, |z| atan(z, alpha));
            }
            Surrogate::FastSigmoid { slope } => {
                self.step_back_with(membrane_grad, u, grad, |z| fast_sigmoid(z, slope));
            }
            Surrogate::Rectangular { width } => {
                self.step_back_with(membrane_grad, u, grad, |z| rectangular(z, width));
            }
        }
    }

    /// The largest surrogate derivative with respect to `z`, or `None` if 8 bits per derivative are
    /// not enough for the backward pass.
    ///
    /// 8 bits are enough if the support of the surrogate is bounded and the reset subtracts: their
    /// error is 1/510 of the largest derivative, and derivatives outside the support stay zero. The
    /// other reset needs to know which neurons fired, which the derivatives do not tell.
    pub(crate) fn surrogate_max(&self) -> Option<f32> {
        match (self.reset, self.surrogate) {
            (Reset::Subtract, Surrogate::Linear { damping }) => Some(damping as f32),
            (Reset::Subtract, Surrogate::Rectangular { width }) => Some((1.0 / width) as f32),
            _ => None,
        }
    }

    /// Writes the surrogate derivatives at the membrane potentials `u` in 8 bits. 255 means the
    /// largest derivative.
    #[inline(always)]
    pub(crate) fn surrogate_q8(&self, u: &[f32], surrogate_q8: &mut [u8]) {
        // Adding this to a small number rounds it and leaves the result in the lowest bits.
        const ROUNDING: f32 = (1 << 23) as f32;
        let per_threshold = 1.0 / self.threshold;
        let distance = |u: f32| (u * per_threshold - 1.0).abs();
        match self.surrogate {
            Surrogate::Linear { .. } => {
                for (derivative, &u) in surrogate_q8.iter_mut().zip(u) {
                    let height = (1.0 - distance(u)).max(0.0);
                    *derivative = (height * 255.0 + ROUNDING).to_bits() as u8;
                }
            }
            Surrogate::Rectangular { width } => {
                for (derivative, &u) in surrogate_q8.iter_mut().zip(u) {
                    *derivative = if distance(u) < (width / 2.0) as f32 { 255 } else { 0 };
                }
            }
            Surrogate::Atan { .. } | Surrogate::FastSigmoid { .. } => {
                unreachable!("`surrogate_max` is `None` for surrogates of unbounded support")
            }
        }
    }

    /// The derivative with respect to the membrane potential that 1 in [`Neurons::surrogate_q8`]
    /// means.
    pub(crate) fn q8_scale(&self) -> f32 {
        self.surrogate_max().unwrap_or(0.0) / (255.0 * self.threshold)
    }

    /// [`Neurons::step_back`] from the derivatives of [`Neurons::surrogate_q8`] and the scale of
    /// [`Neurons::q8_scale`] in place of membrane potentials.
    #[inline(always)]
    pub(crate) fn step_back_q8(
        &self,
        membrane_grad: &mut [f32],
        (surrogate_q8, scale): (&[u8], f32),
        grad: &[f32],
    ) {
        let gradients = membrane_grad.iter_mut().zip(grad);
        for ((membrane_grad, &grad), &derivative) in gradients.zip(surrogate_q8) {
            *membrane_grad = grad * (scale * f32::from(derivative)) + self.leak * *membrane_grad;
        }
    }

    #[inline(always)]
    fn step_back_with(
        &self,
        membrane_grad: &mut [f32],
        u: &[f32],
        grad: &[f32],
        derivative: impl Fn(f32) -> f32,
    ) {
        let Self { threshold, leak, .. } = *self;
        let from_spike = |u: f32, grad: f32| grad * derivative(u / threshold - 1.0) / threshold;
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

/// One bit for each of [`LANES`] neurons that is above the threshold. Neuron 0 is the lowest bit.
#[inline(always)]
fn fired<S: Simd>(simd: S, u: &[f32; LANES], threshold: f32) -> u16 {
    let threshold = simd.splat_f32s(threshold);
    let mut bits = 0u16;
    for (register, &u) in S::as_simd_f32s(u).0.iter().enumerate() {
        let mask = simd.greater_than_f32s(u, threshold);
        bits |= lane_bits::<S>(&mask) << (register * S::F32_LANES);
    }
    bits
}

/// A vector mask as bits, lane 0 lowest. AVX-512 masks are bits; other masks fill whole lanes.
#[inline(always)]
fn lane_bits<S: Simd>(mask: &S::m32s) -> u16 {
    let bytes = bytemuck::bytes_of(mask);
    if S::F32_LANES == 1 {
        return u16::from(bytes[0] & 1);
    }
    if bytes.len() * 8 == S::F32_LANES {
        return bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u16::from(byte));
    }
    let size = bytes.len() / S::F32_LANES;
    bytes.iter().step_by(size).rev().fold(0, |bits, &byte| bits << 1 | u16::from(byte & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEURONS: Neurons = Neurons {
        threshold: 0.7,
        leak: 1.0,
        reset: Reset::Subtract,
        step_order: StepOrder::IntegrateThenFire,
        surrogate: Surrogate::Linear { damping: 0.3 },
    };

    #[test]
    fn derivatives_in_8_bits_are_off_by_at_most_half_a_unit() {
        for surrogate in [Surrogate::Linear { damping: 0.3 }, Surrogate::Rectangular { width: 1.3 }]
        {
            let neurons = Neurons { surrogate, ..NEURONS };
            let u: Vec<f32> = (-300..600).map(|i| i as f32 / 200.0).collect();
            let (mut exact, mut found) = (vec![0.0; u.len()], vec![0.0; u.len()]);
            let (grad, mut surrogate_q8) = (vec![1.0; u.len()], vec![0; u.len()]);
            neurons.step_back(&mut exact, &u, &grad);
            neurons.surrogate_q8(&u, &mut surrogate_q8);
            neurons.step_back_q8(&mut found, (&surrogate_q8, neurons.q8_scale()), &grad);
            let largest = exact.iter().copied().fold(0.0, f32::max);
            assert!(largest > 0.0 && exact.contains(&0.0));
            for ((exact, found), u) in exact.iter().zip(&found).zip(&u) {
                let error = (exact - found).abs() / largest;
                assert!(error < 1.01 / 510.0, "{found} instead of {exact} at {u}");
            }
        }
    }

    #[test]
    fn derivatives_of_unbounded_support_are_not_saved_in_8_bits() {
        let surrogate = Surrogate::Atan { alpha: 2.0 };
        assert_eq!(NEURONS.surrogate_max(), Some(0.3));
        assert_eq!(Neurons { surrogate, ..NEURONS }.surrogate_max(), None);
        assert_eq!(Neurons { reset: Reset::Zero, ..NEURONS }.surrogate_max(), None);
    }
}
