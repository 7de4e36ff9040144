//! The surrogate derivatives of [`Surrogate`], on tensors.

use std::f64::consts::FRAC_PI_2;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::surrogate::{SpikeTrace, Surrogate};

/// The surrogate derivatives of some neurons, one time step after another, in Burn's operations.
#[derive(Clone, Debug)]
pub struct Derivatives<B: Backend, const D: usize> {
    surrogate: Surrogate,
    /// The derivatives of the step before, if the surrogate has a trace.
    trace: Option<(SpikeTrace, Tensor<B, D>)>,
}

impl<B: Backend, const D: usize> Derivatives<B, D> {
    /// The derivatives from the first step on. `spikes` has the shape of those of one step.
    pub fn new(surrogate: Surrogate, spikes: &Tensor<B, D>) -> Self {
        let start = |trace: SpikeTrace| (trace, spikes.full_like(trace.start));
        Self { surrogate, trace: SpikeTrace::of(surrogate).map(start) }
    }

    /// The derivatives at the next step, whose `z` is given. `spikes` are 1 for the neurons that
    /// have fired in the step before, else 0. All have the same shape.
    pub fn next(&mut self, z: Tensor<B, D>, spikes: &Tensor<B, D>) -> Tensor<B, D> {
        match &mut self.trace {
            None => of_z(self.surrogate, z),
            Some((trace, before)) => {
                let fired = spikes.clone().greater_elem(0.0);
                let after = before.clone().mask_fill(fired, trace.after_spike) * trace.decay;
                *before = after.clone();
                after
            }
        }
    }
}

/// The surrogate derivative `σ'(z)` of every element of `z`.
///
/// It divides instead of calling `recip`, which has an error of 3e-5 on NdArray.
fn of_z<B: Backend, const D: usize>(surrogate: Surrogate, z: Tensor<B, D>) -> Tensor<B, D> {
    match surrogate {
        Surrogate::Linear { damping } => (-z.abs() + 1.0).clamp_min(0.0) * damping,
        Surrogate::Atan { alpha } => {
            let x = z * (FRAC_PI_2 * alpha);
            x.full_like(alpha / 2.0) / (x.clone() * x + 1.0)
        }
        Surrogate::FastSigmoid { slope } => {
            let x = z.abs() * slope + 1.0;
            x.ones_like() / (x.clone() * x)
        }
        Surrogate::Rectangular { width } => {
            let inside = z.clone().abs().lower_elem(width / 2.0);
            z.zeros_like().mask_fill(inside, 1.0 / width)
        }
        Surrogate::SpikeTime { .. } => unreachable!("it has a trace"),
    }
}
