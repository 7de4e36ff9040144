//! The neurons of a layer: one time step of their membrane potentials, forward and backward.
//!
//! With the current `I^t`, the threshold `v` and the leak `λ`, from the initial membrane potential
//! `u^0` and `o^0 = 1 if u^0 > v, else 0`:
//!
//! ```text
//! u^t = λ u^{t-1} + I^t - v o^{t-1}        reset `subtract`
//! u^t = λ u^{t-1} (1 - o^{t-1}) + I^t      reset `zero`
//! o^t = 1 if u^t > v, else 0
//! s^t = o^t                                step order `integrate-then-fire`
//! s^t = o^{t-1}                            step order `fire-then-integrate`
//! ```
//!
//! The equations are those of the `neuron` module of `lasnn-neurons`, in the same order of
//! operations. So one step gives the same bits here and there.
//!
//! - `lane_params`: the parameters of a layer, a number for each lane,
//! - `step_back`: the step back through time, and what the tape saves for it.

mod lane_params;
mod step_back;

use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use pulp::{Simd, bytemuck};

use crate::spikes::LANES;

pub(crate) use lane_params::{LaneParams, fill_bias};
pub(crate) use step_back::surrogate_max;

/// The neurons of one channel tile of a layer. Membrane potentials and currents have one number for
/// each lane of the tile at each position, lanes faster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileNeurons<'a> {
    pub options: NeuronOptions,
    /// The leak `λ`.
    pub leak: f32,
    /// The threshold `v` of each lane.
    pub thresholds: &'a [f32],
    /// By lane: 1 / threshold.
    pub per_threshold: &'a [f32],
    /// By lane: the derivative of a spike with respect to its membrane potential that 1 stands for
    /// in 8 bits.
    pub q8_scales: &'a [f32],
}

impl TileNeurons<'_> {
    /// Some lanes of the tile, a multiple of [`LANES`].
    #[inline(always)]
    pub fn lanes(&self, lanes: std::ops::Range<usize>) -> Self {
        Self {
            thresholds: &self.thresholds[lanes.clone()],
            per_threshold: &self.per_threshold[lanes.clone()],
            q8_scales: &self.q8_scales[lanes],
            ..*self
        }
    }

    /// A bit for each of at most [`LANES`] lanes whose membrane potential is above its threshold.
    #[inline(always)]
    pub fn fired(&self, u: &[f32]) -> u16 {
        let lanes = u.iter().zip(self.thresholds).enumerate();
        lanes.fold(0, |bits, (lane, (u, threshold))| bits | u16::from(u > threshold) << lane)
    }

    /// The number of lanes.
    #[inline(always)]
    fn width(&self) -> usize {
        self.thresholds.len()
    }

    /// Advances the membrane potentials `u` by one step of `currents` and writes one bit per neuron
    /// to `spikes`.
    #[inline(always)]
    pub fn step<S: Simd>(&self, simd: S, u: &mut [f32], currents: &[f32], spikes: &mut [u16]) {
        let thresholds = self.thresholds.as_chunks::<LANES>().0;
        let places = u.chunks_exact_mut(self.width()).zip(currents.chunks_exact(self.width()));
        for ((u, currents), spikes) in places.zip(spikes.chunks_exact_mut(thresholds.len())) {
            let u = u.as_chunks_mut::<LANES>().0.iter_mut();
            let lanes = u.zip(currents.as_chunks::<LANES>().0).zip(thresholds);
            for (((u, currents), threshold), spikes) in lanes.zip(spikes) {
                match self.options.step_order {
                    StepOrder::IntegrateThenFire => {
                        self.integrate_lanes(simd, u, currents, threshold);
                        *spikes = fired(simd, u, threshold);
                    }
                    StepOrder::FireThenIntegrate => {
                        *spikes = fired(simd, u, threshold);
                        self.integrate_lanes(simd, u, currents, threshold);
                    }
                }
            }
        }
    }

    /// Resets the neurons that fired in the step before, then leaks and adds the currents.
    #[inline(always)]
    pub fn integrate<S: Simd>(&self, simd: S, u: &mut [f32], currents: &[f32]) {
        let places = u.chunks_exact_mut(self.width()).zip(currents.chunks_exact(self.width()));
        for (u, currents) in places {
            let u = u.as_chunks_mut::<LANES>().0.iter_mut();
            let lanes = u.zip(currents.as_chunks::<LANES>().0);
            for ((u, currents), threshold) in lanes.zip(self.thresholds.as_chunks::<LANES>().0) {
                self.integrate_lanes(simd, u, currents, threshold);
            }
        }
    }

    #[inline(always)]
    fn integrate_lanes<S: Simd>(
        &self,
        simd: S,
        u: &mut [f32; LANES],
        currents: &[f32; LANES],
        thresholds: &[f32; LANES],
    ) {
        let [zero, leak] = [0.0, self.leak].map(|x| simd.splat_f32s(x));
        let registers = S::as_mut_simd_f32s(u).0.iter_mut().zip(S::as_simd_f32s(currents).0);
        for ((u, &current), &threshold) in registers.zip(S::as_simd_f32s(thresholds).0) {
            let has_fired = simd.greater_than_f32s(*u, threshold);
            let left = simd.mul_f32s(leak, *u);
            *u = match self.options.reset {
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
}

/// One bit for each of [`LANES`] neurons that is above its threshold. Neuron 0 is the lowest bit.
#[inline(always)]
fn fired<S: Simd>(simd: S, u: &[f32; LANES], thresholds: &[f32; LANES]) -> u16 {
    let mut bits = 0u16;
    let registers = S::as_simd_f32s(u).0.iter().zip(S::as_simd_f32s(thresholds).0);
    for (register, (&u, &threshold)) in registers.enumerate() {
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
