//! The neuron in Burn's tensor operations: slow and simple. Tests compare the kernels with it.
//!
//! [`scan`], [`scan_backward`] and [`advance`] are the default bodies of
//! [`SpikingBackend`](crate::SpikingBackend). [`differentiable_scan`] leaves the backward pass to
//! Burn's autodiff, which tests the hand-written one. [`membranes`] returns the membrane potentials
//! of all steps, for networks that run layer by layer; it has no kernel of its own.
//!
//! Currents are `[steps, neurons]`; the parameters are described by [`ScanParams`]. The order of
//! operations is part of the contract: the CPU kernels round in the same order and give the same
//! bits.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};

use crate::backend::{ScanGrads, ScanParams};
use crate::surrogate::Derivatives;

/// The spikes that the currents cause.
pub fn scan<B: Backend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    advance(currents, params, options).0
}

/// The spikes that the currents cause, and the membrane potentials `[neurons]` after the last step.
pub fn advance<B: Backend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
    options: NeuronOptions,
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let ScanParams { membrane: mut u, threshold, leak } = rows(&currents, params);
    let mut spikes = Vec::with_capacity(currents.dims()[0]);
    for current in currents.split(1, 0) {
        let previous = fire(&u, &threshold);
        u = integrate(u, previous.clone(), current, &threshold, &leak, options.reset);
        spikes.push(match options.step_order {
            StepOrder::IntegrateThenFire => fire(&u, &threshold),
            StepOrder::FireThenIntegrate => previous,
        });
    }
    (Tensor::cat(spikes, 0), u.squeeze_dim(0))
}

/// The gradients of [`scan`].
pub fn scan_backward<B: Backend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
    output_grad: Tensor<B, 2>,
    options: NeuronOptions,
) -> ScanGrads<Tensor<B, 2>, Tensor<B, 1>> {
    let params = rows(&currents, params);
    let ScanParams { membrane: start, threshold, leak } = params.clone();
    let after = trajectory(currents, params, options.reset);
    // The membrane potentials before and after each step.
    let membranes: Vec<Tensor<B, 2>> = std::iter::once(start.clone()).chain(after).collect();
    let silent = start.zeros_like();

    let mut output_grads = output_grad.split(1, 0);
    if options.step_order == StepOrder::FireThenIntegrate {
        // A neuron sends in each step the spike of the step before. The last spike is never sent.
        output_grads.remove(0);
        output_grads.push(silent.clone());
    }

    let mut derivatives = Derivatives::new(options.surrogate, &silent);
    let step = |both: &[Tensor<B, 2>]| {
        let before = both[0].clone();
        let ratio = both[1].clone() / threshold.clone();
        let fired = fire(&before, &threshold);
        let surrogate_grad = derivatives.next(ratio.clone() - 1.0, &fired);
        (before, fired, ratio, surrogate_grad)
    };
    let steps: Vec<_> = membranes.windows(2).map(step).collect();

    let mut carried = silent.clone();
    let (mut threshold_grad, mut leak_grad) = (silent.clone(), silent);
    let mut currents_grads = Vec::with_capacity(output_grads.len());
    for (step, output_grad) in steps.into_iter().zip(output_grads).rev() {
        let (before, fired, ratio, surrogate_grad) = step;
        let through_spike = output_grad * surrogate_grad / threshold.clone();
        let membrane_grad = through_spike.clone() + carried;
        threshold_grad = threshold_grad - through_spike * ratio;
        carried = leak.clone() * membrane_grad.clone();
        let mut per_leak = membrane_grad.clone() * before;
        match options.reset {
            Reset::Subtract => {
                threshold_grad = threshold_grad - membrane_grad.clone() * fired;
            }
            Reset::Zero => {
                let kept = -fired + 1.0;
                carried = carried * kept.clone();
                per_leak = per_leak * kept;
            }
        }
        leak_grad = leak_grad + per_leak;
        currents_grads.push(membrane_grad);
    }
    currents_grads.reverse();
    ScanGrads {
        currents: Tensor::cat(currents_grads, 0),
        params: Some(ScanParams {
            membrane: carried.squeeze_dim(0),
            threshold: threshold_grad.squeeze_dim(0),
            leak: leak_grad.squeeze_dim(0),
        }),
    }
}

/// The membrane potentials `[steps, neurons]` after each step.
///
/// On an autodiff backend they are differentiable with respect to the currents and the parameters.
/// As in [`scan`], no gradient flows through the spikes of the reset.
pub fn membranes<B: Backend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let params = rows(&currents, params);
    Tensor::cat(trajectory(currents, params, options.reset), 0)
}

/// [`scan`] for an autodiff backend, with the backward pass left to Burn.
///
/// Each spike is `o + σ' (z - z)` with `o`, the surrogate derivative `σ'` and the second `z`
/// detached. Its value is `o`, and its derivative with respect to `z` is `σ'`.
pub fn differentiable_scan<B: Backend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let ScanParams { membrane: mut u, threshold, leak } = rows(&currents, params);
    let mut sent = fire(&u, &threshold).detach();
    let mut derivatives = Derivatives::new(options.surrogate, &sent);
    let mut spikes = Vec::with_capacity(currents.dims()[0]);
    for current in currents.split(1, 0) {
        let previous = sent;
        let fired = previous.clone().detach();
        u = integrate(u, fired.clone(), current, &threshold, &leak, options.reset);
        let z = u.clone() / threshold.clone() - 1.0;
        let surrogate_grad = derivatives.next(z.clone().detach(), &fired);
        sent = fire(&u, &threshold).detach() + surrogate_grad * (z.clone() - z.detach());
        spikes.push(match options.step_order {
            StepOrder::IntegrateThenFire => sent.clone(),
            StepOrder::FireThenIntegrate => previous,
        });
    }
    Tensor::cat(spikes, 0)
}

/// The parameters of all neurons as rows `[1, neurons]`.
fn rows<B: Backend>(
    currents: &Tensor<B, 2>,
    params: ScanParams<Tensor<B, 1>>,
) -> ScanParams<Tensor<B, 2>> {
    let neurons = currents.dims()[1];
    params.map(|param| param.unsqueeze::<2>().expand([1, neurons]))
}

/// The membrane potentials `[1, neurons]` after each step.
fn trajectory<B: Backend>(
    currents: Tensor<B, 2>,
    params: ScanParams<Tensor<B, 2>>,
    reset: Reset,
) -> Vec<Tensor<B, 2>> {
    let ScanParams { membrane: mut u, threshold, leak } = params;
    let step = |current| {
        let spikes = fire(&u, &threshold).detach();
        u = integrate(u.clone(), spikes, current, &threshold, &leak, reset);
        u.clone()
    };
    currents.split(1, 0).into_iter().map(step).collect()
}

/// 1 where the membrane potential is above the threshold, else 0.
fn fire<B: Backend>(u: &Tensor<B, 2>, threshold: &Tensor<B, 2>) -> Tensor<B, 2> {
    let fires = u.clone().greater(threshold.clone());
    u.zeros_like().mask_fill(fires, 1.0)
}

/// The membrane potentials after a step. `spikes` are the spikes of the previous step.
fn integrate<B: Backend>(
    u: Tensor<B, 2>,
    spikes: Tensor<B, 2>,
    current: Tensor<B, 2>,
    threshold: &Tensor<B, 2>,
    leak: &Tensor<B, 2>,
    reset: Reset,
) -> Tensor<B, 2> {
    match reset {
        Reset::Subtract => leak.clone() * u + current - threshold.clone() * spikes,
        Reset::Zero => leak.clone() * u * (-spikes + 1.0) + current,
    }
}
