//! The neuron on slices, for CPU backends.
//!
//! Arrays are `[steps, neurons]` in row-major order. Neurons do not depend on each other. They are
//! processed in blocks that stay in cache over all steps, and any thread may run any block: the
//! result has the same bits. The loops within a block run over contiguous rows without branches, so
//! that the compiler vectorises them.
//!
//! `lasnn-spiking-kernels` has the same equations in SIMD registers for whole networks, in `f32`
//! only. This implementation is generic over `f32` and `f64`, because the tests check gradients in
//! `f64`, and it reads and writes dense tensors, because it serves networks that run layer by
//! layer.

use rayon::prelude::*;

use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::{Real, Surrogate, atan, fast_sigmoid, linear, rectangular};

/// Neurons in a block: a row takes 4 KiB in `f32`.
const BLOCK: usize = 1024;

/// With fewer values than this, the use of several threads costs more than it gains.
const PARALLEL_FROM: usize = 1 << 15;

/// The parameters of the neurons of one call.
#[derive(Clone, Copy)]
pub(super) struct Neurons<F> {
    pub threshold: F,
    pub leak: F,
    pub options: NeuronOptions,
}

/// Advances the membrane potentials `[neurons]` by the `currents` `[steps, neurons]`. Returns the
/// spikes `[steps, neurons]`.
pub(super) fn advance<F: Real>(neurons: Neurons<F>, currents: &[F], membrane: &mut [F]) -> Vec<F> {
    let mut spikes = vec![F::ZERO; currents.len()];
    let blocks = Blocks::of(membrane.len());
    let work = blocks.rows_mut(&mut spikes).into_iter().zip(membrane.chunks_mut(BLOCK)).enumerate();
    for_each(currents.len(), work.collect(), |(block, (mut spikes, u))| {
        for (spikes, currents) in spikes.iter_mut().zip(blocks.rows(currents, block)) {
            match neurons.options.step_order {
                StepOrder::IntegrateThenFire => {
                    neurons.integrate(u, currents);
                    neurons.fire(spikes, u);
                }
                StepOrder::FireThenIntegrate => {
                    neurons.fire(spikes, u);
                    neurons.integrate(u, currents);
                }
            }
        }
    });
    spikes
}

/// The gradient with respect to the `currents` of a scan from rest. Currents, `output_grad` and the
/// result are `[steps, neurons]` with `width` neurons.
pub(super) fn scan_backward<F: Real>(
    neurons: Neurons<F>,
    currents: &[F],
    output_grad: &[F],
    width: usize,
) -> Vec<F> {
    match neurons.options.surrogate {
        Surrogate::Linear { damping } => {
            backward(neurons, currents, output_grad, width, |z| linear(z, damping))
        }
        Surrogate::Atan { alpha } => {
            backward(neurons, currents, output_grad, width, |z| atan(z, alpha))
        }
        Surrogate::FastSigmoid { slope } => {
            backward(neurons, currents, output_grad, width, |z| fast_sigmoid(z, slope))
        }
        Surrogate::Rectangular { width: support } => {
            backward(neurons, currents, output_grad, width, |z| rectangular(z, support))
        }
    }
}

/// [`scan_backward`] compiled for one surrogate.
fn backward<F: Real>(
    neurons: Neurons<F>,
    currents: &[F],
    output_grad: &[F],
    width: usize,
    surrogate_grad: impl Fn(F) -> F + Copy + Send + Sync,
) -> Vec<F> {
    let blocks = Blocks::of(width);
    let mut result = vec![F::ZERO; currents.len()];
    let work = blocks.rows_mut(&mut result).into_iter().enumerate();
    for_each(currents.len(), work.collect(), |(block, mut result)| {
        let size = blocks.size(block);
        // The result holds the membrane potentials first; the gradients overwrite them.
        let mut u = vec![F::ZERO; size];
        for (membrane, currents) in result.iter_mut().zip(blocks.rows(currents, block)) {
            neurons.integrate(&mut u, currents);
            membrane.copy_from_slice(&u);
        }

        // With `fire-then-integrate`, the spike of a step is sent in the next step, and the last
        // one never.
        let zeros = vec![F::ZERO; size];
        let output_grads: Vec<&[F]> = match neurons.options.step_order {
            StepOrder::IntegrateThenFire => blocks.rows(output_grad, block).collect(),
            StepOrder::FireThenIntegrate => {
                let next_step = blocks.rows(output_grad, block).skip(1);
                next_step.chain(std::iter::once(&zeros[..])).collect()
            }
        };
        let mut membrane_grad = vec![F::ZERO; size];
        for (row, output_grad) in result.iter_mut().zip(output_grads).rev() {
            neurons.step_back(&mut membrane_grad, row, output_grad, surrogate_grad);
        }
    });
    result
}

impl<F: Real> Neurons<F> {
    fn spike(&self, u: F) -> F {
        if u > self.threshold { F::ONE } else { F::ZERO }
    }

    /// Writes 1 for neurons above the threshold, else 0.
    fn fire(&self, spikes: &mut [F], u: &[F]) {
        for (spike, &u) in spikes.iter_mut().zip(u) {
            *spike = self.spike(u);
        }
    }

    /// Leaks, adds the currents, and resets the neurons that fired in the previous step.
    fn integrate(&self, u: &mut [F], currents: &[F]) {
        match self.options.reset {
            Reset::Subtract => {
                for (u, &current) in u.iter_mut().zip(currents) {
                    *u = self.leak * *u + current - self.threshold * self.spike(*u);
                }
            }
            Reset::Zero => {
                for (u, &current) in u.iter_mut().zip(currents) {
                    *u = self.leak * *u * (F::ONE - self.spike(*u)) + current;
                }
            }
        }
    }

    /// Takes `membrane_grad` (`δ` in the equations) one step back in time. `row` holds the membrane
    /// potentials of the step, which the gradients overwrite.
    fn step_back(
        &self,
        membrane_grad: &mut [F],
        row: &mut [F],
        grad: &[F],
        surrogate_grad: impl Fn(F) -> F,
    ) {
        let from_spike =
            |u: F, grad: F| grad * surrogate_grad(u / self.threshold - F::ONE) / self.threshold;
        match self.options.reset {
            Reset::Subtract => {
                for ((membrane_grad, u), &grad) in membrane_grad.iter_mut().zip(row).zip(grad) {
                    *membrane_grad = from_spike(*u, grad) + self.leak * *membrane_grad;
                    *u = *membrane_grad;
                }
            }
            Reset::Zero => {
                for ((membrane_grad, u), &grad) in membrane_grad.iter_mut().zip(row).zip(grad) {
                    let carried = self.leak * *membrane_grad * (F::ONE - self.spike(*u));
                    *membrane_grad = from_spike(*u, grad) + carried;
                    *u = *membrane_grad;
                }
            }
        }
    }
}

/// The division of the neurons into blocks.
#[derive(Clone, Copy)]
struct Blocks {
    neurons: usize,
}

impl Blocks {
    fn of(neurons: usize) -> Self {
        Self { neurons }
    }

    /// The number of neurons in a block; the last block may have fewer than [`BLOCK`].
    fn size(&self, block: usize) -> usize {
        BLOCK.min(self.neurons - block * BLOCK)
    }

    /// One block's part of each row.
    fn rows<'a, F>(&self, array: &'a [F], block: usize) -> impl Iterator<Item = &'a [F]> {
        let columns = block * BLOCK..block * BLOCK + self.size(block);
        array.chunks_exact(self.neurons).map(move |row| &row[columns.clone()])
    }

    /// Every block's part of each row.
    fn rows_mut<'a, F>(&self, array: &'a mut [F]) -> Vec<Vec<&'a mut [F]>> {
        let mut blocks: Vec<_> = (0..self.neurons.div_ceil(BLOCK)).map(|_| Vec::new()).collect();
        for row in array.chunks_exact_mut(self.neurons.max(1)) {
            for (block, columns) in blocks.iter_mut().zip(row.chunks_mut(BLOCK)) {
                block.push(columns);
            }
        }
        blocks
    }
}

/// Runs the work, on several threads if there is enough of it.
fn for_each<W: Send>(values: usize, work: Vec<W>, run: impl Fn(W) + Sync + Send) {
    if values < PARALLEL_FROM {
        work.into_iter().for_each(run);
    } else {
        work.into_par_iter().for_each(run);
    }
}
