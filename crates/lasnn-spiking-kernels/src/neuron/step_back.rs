//! The step back through time, and what the tape saves for it.
//!
//! With the gradient `g` of the loss with respect to the spike that `u^t` decides, the surrogate
//! derivative `σ'` and `z = u / v - 1`, the gradient `δ` of the membrane potential is
//!
//! ```text
//! δ^t = g σ'(z^t) / v + λ δ^{t+1}
//! ```
//!
//! where the reset `zero` multiplies `λ δ^{t+1}` by `1 - o^t`. Where a loss depends on `u^t`
//! itself, the caller adds that gradient to `δ^t`.

use lasnn_core::neuron::{NeuronOptions, Reset};
use lasnn_core::surrogate::{Surrogate, atan, fast_sigmoid, linear, rectangular};

use super::TileNeurons;
use lasnn_gemm::product::{bf16_bits, bf16_to_f32};

/// The largest surrogate derivative with respect to `z`, or `None` if 8 bits per derivative are
/// not enough for the backward pass.
///
/// 8 bits are enough if the support of the surrogate is bounded and the reset subtracts: their
/// error is 1/510 of the largest derivative, and derivatives outside the support stay zero. The
/// other reset needs to know which neurons fired, which the derivatives do not tell.
pub(crate) fn surrogate_max(options: &NeuronOptions) -> Option<f32> {
    match (options.reset, options.surrogate) {
        (Reset::Subtract, Surrogate::Linear { damping }) => Some(damping as f32),
        (Reset::Subtract, Surrogate::Rectangular { width }) => Some((1.0 / width) as f32),
        _ => None,
    }
}

/// Why a step back never sees a surrogate with a trace.
const NO_TRACE: &str = "`ForwardArgs::backward` refuses surrogates that do not follow from z";

impl TileNeurons<'_> {
    /// Takes the gradients `membrane_grad` one step back in time, to the membrane potentials `u`.
    /// `grad` holds the gradients with respect to the spikes that `u` decides. All have one number
    /// for each lane at each position.
    #[inline(always)]
    pub fn step_back(&self, membrane_grad: &mut [f32], u: &[f32], grad: &[f32]) {
        match self.options.surrogate {
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
            Surrogate::SpikeTime { .. } => unreachable!("{NO_TRACE}"),
        }
    }

    /// Replaces gradients `grad` with respect to the spikes that the membrane potentials `u` decide
    /// by the gradients with respect to `u`: `g σ'(z) / v`.
    #[inline(always)]
    pub fn through_spikes(&self, u: &[f32], grad: &mut [f32]) {
        match self.options.surrogate {
            Surrogate::Linear { damping } => self.through(u, grad, |z| linear(z, damping)),
            Surrogate::Atan { alpha } => self.through(u, grad, |z| atan(z, alpha)),
            Surrogate::FastSigmoid { slope } => self.through(u, grad, |z| fast_sigmoid(z, slope)),
            Surrogate::Rectangular { width } => self.through(u, grad, |z| rectangular(z, width)),
            Surrogate::SpikeTime { .. } => unreachable!("{NO_TRACE}"),
        }
    }

    #[inline(always)]
    fn through(&self, u: &[f32], grad: &mut [f32], derivative: impl Fn(f32) -> f32) {
        let width = self.thresholds.len();
        for (u, grad) in u.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            for ((grad, &u), &threshold) in grad.iter_mut().zip(u).zip(self.thresholds) {
                *grad = *grad * derivative(u / threshold - 1.0) / threshold;
            }
        }
    }

    /// Writes the surrogate derivatives at the membrane potentials `u` in 8 bits. 255 means the
    /// largest derivative.
    #[inline(always)]
    pub fn surrogate_q8(&self, u: &[f32], surrogate_q8: &mut [u8]) {
        // Adding this to a small number rounds it and leaves the result in the lowest bits.
        const ROUNDING: f32 = (1 << 23) as f32;
        let width = self.thresholds.len();
        let distance = |u: f32, per_threshold: f32| (u * per_threshold - 1.0).abs();
        let places = surrogate_q8.chunks_exact_mut(width).zip(u.chunks_exact(width));
        for (surrogate_q8, u) in places {
            let lanes = surrogate_q8.iter_mut().zip(u).zip(self.per_threshold);
            match self.options.surrogate {
                Surrogate::Linear { .. } => {
                    for ((derivative, &u), &per_threshold) in lanes {
                        let height = (1.0 - distance(u, per_threshold)).max(0.0);
                        *derivative = (height * 255.0 + ROUNDING).to_bits() as u8;
                    }
                }
                Surrogate::Rectangular { width } => {
                    for ((derivative, &u), &per_threshold) in lanes {
                        let inside = distance(u, per_threshold) < (width / 2.0) as f32;
                        *derivative = if inside { 255 } else { 0 };
                    }
                }
                Surrogate::Atan { .. }
                | Surrogate::FastSigmoid { .. }
                | Surrogate::SpikeTime { .. } => {
                    unreachable!("`surrogate_max` is `None` for surrogates of unbounded support")
                }
            }
        }
    }

    /// Writes the membrane potentials `u` in bfloat16. Rounding takes no potential across its
    /// threshold.
    #[inline(always)]
    pub fn membrane_bf16(&self, u: &[f32], rounded: &mut [u16]) {
        let width = self.thresholds.len();
        for (rounded, u) in rounded.chunks_exact_mut(width).zip(u.chunks_exact(width)) {
            for ((rounded, &u), &threshold) in rounded.iter_mut().zip(u).zip(self.thresholds) {
                let bits = bf16_bits(u) as u16;
                let (fires, seems_to_fire) = (u > threshold, bf16_to_f32(bits) > threshold);
                // Near a threshold, which is positive, the next larger number has the next bits.
                *rounded =
                    bits + u16::from(fires && !seems_to_fire) - u16::from(!fires && seems_to_fire);
            }
        }
    }

    /// [`TileNeurons::step_back`] from the derivatives of [`TileNeurons::surrogate_q8`] in place of
    /// membrane potentials.
    #[inline(always)]
    pub fn step_back_q8(&self, membrane_grad: &mut [f32], surrogate_q8: &[u8], grad: &[f32]) {
        let width = self.q8_scales.len();
        let gradients = membrane_grad.chunks_exact_mut(width).zip(grad.chunks_exact(width));
        for ((membrane_grad, grad), surrogate_q8) in gradients.zip(surrogate_q8.chunks_exact(width))
        {
            let lanes = membrane_grad.iter_mut().zip(grad).zip(surrogate_q8);
            for (((membrane_grad, &grad), &derivative), &scale) in lanes.zip(self.q8_scales) {
                *membrane_grad =
                    grad * (scale * f32::from(derivative)) + self.leak * *membrane_grad;
            }
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
        let Self { leak, thresholds, .. } = *self;
        let width = thresholds.len();
        let from_spike =
            |u: f32, threshold: f32, grad: f32| grad * derivative(u / threshold - 1.0) / threshold;
        let places = membrane_grad.chunks_exact_mut(width).zip(u.chunks_exact(width));
        for ((membrane_grad, u), grad) in places.zip(grad.chunks_exact(width)) {
            let lanes = membrane_grad.iter_mut().zip(u).zip(grad).zip(thresholds);
            match self.options.reset {
                Reset::Subtract => {
                    for (((membrane_grad, &u), &grad), &threshold) in lanes {
                        *membrane_grad = from_spike(u, threshold, grad) + leak * *membrane_grad;
                    }
                }
                Reset::Zero => {
                    for (((membrane_grad, &u), &grad), &threshold) in lanes {
                        let kept = if u > threshold { 0.0 } else { 1.0 };
                        *membrane_grad =
                            from_spike(u, threshold, grad) + leak * *membrane_grad * kept;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::neuron::StepOrder;

    use super::*;

    const OPTIONS: NeuronOptions = NeuronOptions {
        reset: Reset::Subtract,
        step_order: StepOrder::IntegrateThenFire,
        surrogate: Surrogate::Linear { damping: 0.3 },
    };

    #[test]
    fn derivatives_in_8_bits_are_off_by_at_most_half_a_unit() {
        for surrogate in [Surrogate::Linear { damping: 0.3 }, Surrogate::Rectangular { width: 1.3 }]
        {
            let options = NeuronOptions { surrogate, ..OPTIONS };
            let u: Vec<f32> = (-300..600).map(|i| i as f32 / 200.0).collect();
            let threshold = 0.7;
            let scale = surrogate_max(&options).unwrap() / (255.0 * threshold);
            let neurons = TileNeurons {
                options,
                leak: 1.0,
                thresholds: &[threshold],
                per_threshold: &[1.0 / threshold],
                q8_scales: &[scale],
            };
            let (mut exact, mut found) = (vec![0.0; u.len()], vec![0.0; u.len()]);
            let (grad, mut surrogate_q8) = (vec![1.0; u.len()], vec![0; u.len()]);
            neurons.step_back(&mut exact, &u, &grad);
            neurons.surrogate_q8(&u, &mut surrogate_q8);
            neurons.step_back_q8(&mut found, &surrogate_q8, &grad);
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
        assert_eq!(surrogate_max(&OPTIONS), Some(0.3));
        assert_eq!(surrogate_max(&NeuronOptions { surrogate, ..OPTIONS }), None);
        assert_eq!(surrogate_max(&NeuronOptions { reset: Reset::Zero, ..OPTIONS }), None);
    }
}
