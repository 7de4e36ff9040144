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

use std::ops::Range;

use rayon::prelude::*;

use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::{Real, SpikeTrace, Surrogate, atan, fast_sigmoid, linear, rectangular};

/// Neurons in a block: a row takes 4 KiB in `f32`.
const BLOCK: usize = 1024;

/// With fewer values than this, the use of several threads costs more than it gains.
const PARALLEL_FROM: usize = 1 << 15;

/// The parameters of the neurons of one call: one number, or one for each neuron.
#[derive(Clone, Copy)]
pub(super) struct Neurons<'a, F> {
    pub membrane: &'a [F],
    pub threshold: &'a [F],
    pub leak: &'a [F],
    pub options: NeuronOptions,
}

/// The gradients of a scan. Currents are `[steps, neurons]`, the others `[neurons]`. Thresholds and
/// leaks are zeros if they are not wanted.
pub(super) struct Gradients<F> {
    pub currents: Vec<F>,
    pub membrane: Vec<F>,
    pub threshold: Vec<F>,
    pub leak: Vec<F>,
}

/// Spikes `[steps, neurons]` of the `currents` `[steps, neurons]`, and the membrane potentials
/// `[neurons]` after the last step.
pub(super) fn advance<F: Real>(
    neurons: Neurons<'_, F>,
    currents: &[F],
    width: usize,
) -> (Vec<F>, Vec<F>) {
    let mut spikes = vec![F::ZERO; currents.len()];
    let mut membrane = all(neurons.membrane, 0..width);
    let blocks = Blocks::of(width);
    let work = blocks.rows_mut(&mut spikes).into_iter().zip(membrane.chunks_mut(BLOCK)).enumerate();
    for_each(currents.len(), work.collect(), |(block, (mut spikes, u))| {
        let neurons = Block::of(neurons, blocks.range(block));
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
    (spikes, membrane)
}

/// The gradients of a scan. Currents and the gradients of the output are `[steps, neurons]` with
/// `width` neurons.
pub(super) fn scan_backward<F: Real>(
    neurons: Neurons<'_, F>,
    tensors: (&[F], &[F]),
    width: usize,
    with_params: bool,
) -> Gradients<F> {
    match with_params {
        true => of_surrogate::<F, true>(neurons, tensors, width),
        false => of_surrogate::<F, false>(neurons, tensors, width),
    }
}

fn of_surrogate<F: Real, const PARAMS: bool>(
    neurons: Neurons<'_, F>,
    tensors: (&[F], &[F]),
    width: usize,
) -> Gradients<F> {
    match neurons.options.surrogate {
        Surrogate::Linear { damping } => {
            backward::<F, PARAMS>(neurons, tensors, width, |z, _| linear(z, damping))
        }
        Surrogate::Atan { alpha } => {
            backward::<F, PARAMS>(neurons, tensors, width, |z, _| atan(z, alpha))
        }
        Surrogate::FastSigmoid { slope } => {
            backward::<F, PARAMS>(neurons, tensors, width, |z, _| fast_sigmoid(z, slope))
        }
        Surrogate::Rectangular { width: support } => {
            backward::<F, PARAMS>(neurons, tensors, width, |z, _| rectangular(z, support))
        }
        Surrogate::SpikeTime { .. } => {
            backward::<F, PARAMS>(neurons, tensors, width, |_, trace| trace)
        }
    }
}

/// [`scan_backward`] compiled for one surrogate, with or without the gradients of thresholds and
/// leaks. The surrogate gets `z` and the trace of the neuron; without traces, any number.
fn backward<F: Real, const PARAMS: bool>(
    neurons: Neurons<'_, F>,
    (currents, output_grad): (&[F], &[F]),
    width: usize,
    surrogate_grad: impl Fn(F, F) -> F + Copy + Send + Sync,
) -> Gradients<F> {
    let blocks = Blocks::of(width);
    let zeros = || vec![F::ZERO; width];
    let mut gradients = Gradients {
        currents: vec![F::ZERO; currents.len()],
        membrane: zeros(),
        threshold: zeros(),
        leak: zeros(),
    };
    let work = blocks.rows_mut(&mut gradients.currents).into_iter();
    let work = work.zip(gradients.membrane.chunks_mut(BLOCK));
    let work = work.zip(gradients.threshold.chunks_mut(BLOCK));
    let work = work.zip(gradients.leak.chunks_mut(BLOCK)).enumerate();
    let steps = currents.len().checked_div(width).unwrap_or(0);
    for_each(
        currents.len(),
        work.collect(),
        |(block, (((mut rows, membrane), threshold), leak))| {
            let size = blocks.size(block);
            let start = all(neurons.membrane, blocks.range(block));
            let neurons = Block::of(neurons, blocks.range(block));
            // The rows hold the membrane potentials first; the gradients overwrite them.
            let mut u = start.clone();
            let mut traces = Traces::of(neurons.options.surrogate, size);
            for (row, currents) in rows.iter_mut().zip(blocks.rows(currents, block)) {
                traces.next(&u, &neurons.threshold);
                neurons.integrate(&mut u, currents);
                row.copy_from_slice(&u);
            }

            // With `fire-then-integrate`, the spike of a step is sent in the next step, and the
            // last one never.
            let zeros = vec![F::ZERO; size];
            let output_grads: Vec<&[F]> = match neurons.options.step_order {
                StepOrder::IntegrateThenFire => blocks.rows(output_grad, block).collect(),
                StepOrder::FireThenIntegrate => {
                    let next_step = blocks.rows(output_grad, block).skip(1);
                    next_step.chain(std::iter::once(&zeros[..])).collect()
                }
            };
            // `membrane` holds the gradient that each step passes to the step before.
            for step in (0..steps).rev() {
                let (before, row) = rows.split_at_mut(step);
                let before = before.last().map_or(&start[..], |before| before);
                let sums =
                    Sums { carried: &mut *membrane, threshold: &mut *threshold, leak: &mut *leak };
                let (row, grad) = (&mut *row[0], output_grads[step]);
                // Any row will do for a surrogate that ignores it.
                let trace = traces.at(step).unwrap_or(before);
                neurons.step_back::<PARAMS>(sums, row, before, (grad, trace), surrogate_grad);
            }
        },
    );
    gradients
}

/// The traces of one block over time, if its surrogate has them ([`SpikeTrace`]).
struct Traces<F> {
    trace: Option<SpikeTrace>,
    size: usize,
    /// `[steps + 1, size]`, where the first row is before the first step; else empty.
    rows: Vec<F>,
}

impl<F: Real> Traces<F> {
    fn of(surrogate: Surrogate, size: usize) -> Self {
        let trace = SpikeTrace::of(surrogate);
        let rows = trace.map_or_else(Vec::new, |trace| vec![F::of(trace.start); size]);
        Self { trace, size, rows }
    }

    /// Adds the traces of a step, before which the membrane potentials are `before`.
    fn next(&mut self, before: &[F], threshold: &[F]) {
        let Some(SpikeTrace { after_spike, decay, .. }) = self.trace else { return };
        let (after_spike, decay) = (F::of(after_spike), F::of(decay));
        let last = self.rows.len() - self.size;
        self.rows.extend_from_within(last..);
        let traces = self.rows[last + self.size..].iter_mut();
        for ((trace, &u), &threshold) in traces.zip(before).zip(threshold) {
            *trace = decay * if u > threshold { after_spike } else { *trace };
        }
    }

    /// The traces of a step, if there are any.
    fn at(&self, step: usize) -> Option<&[F]> {
        self.rows.get((step + 1) * self.size..(step + 2) * self.size)
    }
}

/// The sums over time of one block.
struct Sums<'a, F> {
    /// The gradient that a step passes to the membrane potentials before it.
    carried: &'a mut [F],
    threshold: &'a mut [F],
    leak: &'a mut [F],
}

/// The neurons of one block, with parameters for each of them.
struct Block<F> {
    threshold: Vec<F>,
    leak: Vec<F>,
    options: NeuronOptions,
}

/// The numbers of some neurons of a parameter.
fn all<F: Real>(param: &[F], neurons: Range<usize>) -> Vec<F> {
    match param {
        &[shared] => vec![shared; neurons.len()],
        param => param[neurons].to_vec(),
    }
}

impl<F: Real> Block<F> {
    fn of(neurons: Neurons<'_, F>, range: Range<usize>) -> Self {
        Self {
            threshold: all(neurons.threshold, range.clone()),
            leak: all(neurons.leak, range),
            options: neurons.options,
        }
    }

    /// Writes 1 for neurons above the threshold, else 0.
    fn fire(&self, spikes: &mut [F], u: &[F]) {
        for ((spike, &u), &threshold) in spikes.iter_mut().zip(u).zip(&self.threshold) {
            *spike = fired(u, threshold);
        }
    }

    /// Leaks, adds the currents, and resets the neurons that fired in the previous step.
    fn integrate(&self, u: &mut [F], currents: &[F]) {
        let neurons = u.iter_mut().zip(currents).zip(&self.threshold).zip(&self.leak);
        match self.options.reset {
            Reset::Subtract => {
                for (((u, &current), &threshold), &leak) in neurons {
                    *u = leak * *u + current - threshold * fired(*u, threshold);
                }
            }
            Reset::Zero => {
                for (((u, &current), &threshold), &leak) in neurons {
                    *u = leak * *u * (F::ONE - fired(*u, threshold)) + current;
                }
            }
        }
    }

    /// Takes the gradients one step back in time. `row` holds the membrane potentials of the step,
    /// which their gradients (`δ` in the equations) overwrite; `before` are those of the step
    /// before. All are slices of one length: a loop that indexes the traces is not vectorised.
    fn step_back<const PARAMS: bool>(
        &self,
        sums: Sums<'_, F>,
        row: &mut [F],
        before: &[F],
        (grad, trace): (&[F], &[F]),
        surrogate_grad: impl Fn(F, F) -> F,
    ) {
        let Sums { carried, threshold: threshold_grad, leak: leak_grad } = sums;
        let subtracts = self.options.reset == Reset::Subtract;
        let neurons = row.iter_mut().zip(before).zip(grad.iter().zip(trace)).zip(carried);
        let params = self.threshold.iter().zip(&self.leak);
        let params = params.zip(threshold_grad.iter_mut().zip(leak_grad));
        for ((((u, &before), (&grad, &trace)), carried), ((&threshold, &leak), grads)) in
            neurons.zip(params)
        {
            let ratio = *u / threshold;
            let through_spike = grad * surrogate_grad(ratio - F::ONE, trace) / threshold;
            let membrane_grad = through_spike + *carried;
            let fired = fired(before, threshold);
            let kept = if subtracts { F::ONE } else { F::ONE - fired };
            *carried = leak * membrane_grad * kept;
            if PARAMS {
                *grads.0 = *grads.0 - through_spike * ratio;
                if subtracts {
                    *grads.0 = *grads.0 - membrane_grad * fired;
                }
                *grads.1 = *grads.1 + membrane_grad * before * kept;
            }
            *u = membrane_grad;
        }
    }
}

/// 1 if the membrane potential is above the threshold, else 0.
fn fired<F: Real>(u: F, threshold: F) -> F {
    if u > threshold { F::ONE } else { F::ZERO }
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

    /// The neurons of a block.
    fn range(&self, block: usize) -> Range<usize> {
        block * BLOCK..block * BLOCK + self.size(block)
    }

    /// One block's part of each row.
    fn rows<'a, F>(&self, array: &'a [F], block: usize) -> impl Iterator<Item = &'a [F]> {
        let columns = self.range(block);
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
