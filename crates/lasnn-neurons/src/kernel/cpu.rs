//! The kernels of the CPU backends, on slices.
//!
//! Arrays are `[steps, neurons]`, row by row. Neurons do not depend on each other, so they are
//! taken in blocks that stay in cache over all steps, and the blocks may run on any thread: the
//! result has the same bits. Within a block the loops run over contiguous rows without branches,
//! which the compiler turns into vector instructions.

use rayon::prelude::*;

use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::{Real, Surrogate, atan, fast_sigmoid, linear, rectangular};

/// Neurons in a block: a row of 4 KiB in `f32`.
const BLOCK: usize = 1024;

/// Below this many values in all, handing blocks to other threads costs more than it gains.
const PARALLEL_FROM: usize = 1 << 15;

/// The neurons of one call.
#[derive(Clone, Copy)]
pub(super) struct Neurons<F> {
    pub threshold: F,
    pub leak: F,
    pub options: NeuronOptions,
}

/// Advances the `membrane` `[neurons]` by the `currents` `[steps, neurons]` and returns the spikes.
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

/// The gradient with respect to the `currents` of a scan from rest; all `[steps, neurons]`.
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
    slope: impl Fn(F) -> F + Copy + Send + Sync,
) -> Vec<F> {
    let blocks = Blocks::of(width);
    let mut result = vec![F::ZERO; currents.len()];
    let work = blocks.rows_mut(&mut result).into_iter().enumerate();
    for_each(currents.len(), work.collect(), |(block, mut result)| {
        let size = blocks.size(block);
        // The result first holds the membrane potentials, then gives way to the gradients.
        let mut u = vec![F::ZERO; size];
        for (membrane, currents) in result.iter_mut().zip(blocks.rows(currents, block)) {
            neurons.integrate(&mut u, currents);
            membrane.copy_from_slice(&u);
        }

        let nothing = vec![F::ZERO; size];
        let output_grads: Vec<&[F]> = match neurons.options.step_order {
            StepOrder::IntegrateThenFire => blocks.rows(output_grad, block).collect(),
            StepOrder::FireThenIntegrate => {
                let later = blocks.rows(output_grad, block).skip(1);
                later.chain(std::iter::once(&nothing[..])).collect()
            }
        };
        let mut delta = vec![F::ZERO; size];
        for (row, output_grad) in result.iter_mut().zip(output_grads).rev() {
            neurons.step_back(&mut delta, row, output_grad, slope);
        }
    });
    result
}

impl<F: Real> Neurons<F> {
    fn spike(&self, u: F) -> F {
        if u > self.threshold { F::ONE } else { F::ZERO }
    }

    /// Writes which neurons are above the threshold.
    fn fire(&self, spikes: &mut [F], u: &[F]) {
        for (spike, &u) in spikes.iter_mut().zip(u) {
            *spike = self.spike(u);
        }
    }

    /// Resets what fired in the step before, then leaks and adds the currents.
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

    /// Takes `delta` one step back in time, and replaces the membrane potentials in `row` by it.
    fn step_back(&self, delta: &mut [F], row: &mut [F], grad: &[F], slope: impl Fn(F) -> F) {
        let from_spike = |u: F, grad: F| grad * slope(u / self.threshold - F::ONE) / self.threshold;
        match self.options.reset {
            Reset::Subtract => {
                for ((delta, u), &grad) in delta.iter_mut().zip(row).zip(grad) {
                    *delta = from_spike(*u, grad) + self.leak * *delta;
                    *u = *delta;
                }
            }
            Reset::Zero => {
                for ((delta, u), &grad) in delta.iter_mut().zip(row).zip(grad) {
                    let kept = self.leak * *delta * (F::ONE - self.spike(*u));
                    *delta = from_spike(*u, grad) + kept;
                    *u = *delta;
                }
            }
        }
    }
}

/// Neurons cut into blocks.
#[derive(Clone, Copy)]
struct Blocks {
    neurons: usize,
}

impl Blocks {
    fn of(neurons: usize) -> Self {
        Self { neurons }
    }

    /// How many neurons `block` has; the last one may have fewer.
    fn size(&self, block: usize) -> usize {
        BLOCK.min(self.neurons - block * BLOCK)
    }

    /// The rows of one block.
    fn rows<'a, F>(&self, array: &'a [F], block: usize) -> impl Iterator<Item = &'a [F]> {
        let columns = block * BLOCK..block * BLOCK + self.size(block);
        array.chunks_exact(self.neurons).map(move |row| &row[columns.clone()])
    }

    /// The rows of every block.
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

/// Runs the work on several threads where there is enough of it.
fn for_each<W: Send>(values: usize, work: Vec<W>, run: impl Fn(W) + Sync + Send) {
    if values < PARALLEL_FROM {
        work.into_iter().for_each(run);
    } else {
        work.into_par_iter().for_each(run);
    }
}
