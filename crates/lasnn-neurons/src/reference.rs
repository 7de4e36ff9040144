//! The neuron in Burn's tensor operations: slow and simple. Tests compare the kernels with it.
//!
//! [`scan`], [`scan_backward`] and [`advance`] are the default bodies of
//! [`SpikingBackend`](crate::SpikingBackend). [`differentiable_scan`] leaves the backward pass to
//! Burn's autodiff, which tests the hand-written one. [`membranes`] returns the membrane potentials
//! of all steps, which no kernel does.
//!
//! Currents are `[steps, neurons]`, membrane potentials `[neurons]`, threshold and leak `[1]`. The
//! order of operations is part of the contract: the CPU kernels round in the same order and give
//! the same bits.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};

use crate::surrogate;

/// The spikes that the currents cause from rest.
pub fn scan<B: Backend>(
    currents: Tensor<B, 2>,
    threshold: Tensor<B, 1>,
    leak: Tensor<B, 1>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let membrane = rest(&currents);
    advance(currents, membrane, threshold, leak, options).0
}

/// The spikes that the currents cause from the given membrane potentials, and the membrane
/// potentials after the last step.
pub fn advance<B: Backend>(
    currents: Tensor<B, 2>,
    membrane: Tensor<B, 1>,
    threshold: Tensor<B, 1>,
    leak: Tensor<B, 1>,
    options: NeuronOptions,
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let (threshold, leak) = (threshold.unsqueeze(), leak.unsqueeze());
    let mut u = membrane.unsqueeze();
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

/// The gradient with respect to the currents of [`scan`].
pub fn scan_backward<B: Backend>(
    currents: Tensor<B, 2>,
    threshold: Tensor<B, 1>,
    leak: Tensor<B, 1>,
    output_grad: Tensor<B, 2>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let (threshold, leak) = (threshold.unsqueeze::<2>(), leak.unsqueeze::<2>());
    let silent: Tensor<B, 2> = rest(&currents).unsqueeze();
    let membranes = trajectory(currents, &threshold, &leak, options.reset);

    let mut output_grads = output_grad.split(1, 0);
    if options.step_order == StepOrder::FireThenIntegrate {
        // A neuron sends in each step the spike of the step before. The last spike is never sent.
        output_grads.remove(0);
        output_grads.push(silent.clone());
    }

    let mut membrane_grad = silent;
    let mut currents_grads = Vec::with_capacity(membranes.len());
    for (u, output_grad) in membranes.into_iter().zip(output_grads).rev() {
        let mut carried = leak.clone() * membrane_grad;
        if options.reset == Reset::Zero {
            carried = carried * (-fire(&u, &threshold) + 1.0);
        }
        let surrogate_grad = surrogate::derivative(options.surrogate, u / threshold.clone() - 1.0);
        membrane_grad = output_grad * surrogate_grad / threshold.clone() + carried;
        currents_grads.push(membrane_grad.clone());
    }
    currents_grads.reverse();
    Tensor::cat(currents_grads, 0)
}

/// The membrane potentials `[steps, neurons]` after each step, from rest.
///
/// On an autodiff backend they are differentiable. As in [`scan`], no gradient flows through the
/// spikes of the reset.
pub fn membranes<B: Backend>(
    currents: Tensor<B, 2>,
    threshold: Tensor<B, 1>,
    leak: Tensor<B, 1>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let (threshold, leak) = (threshold.unsqueeze(), leak.unsqueeze());
    Tensor::cat(trajectory(currents, &threshold, &leak, options.reset), 0)
}

/// [`scan`] for an autodiff backend, with the backward pass left to Burn.
///
/// Each spike is `o + σ'(z) (z - z)` with `o`, `σ'(z)` and the second `z` detached. Its value is
/// `o`, and its derivative with respect to `z` is `σ'(z)`.
pub fn differentiable_scan<B: Backend>(
    currents: Tensor<B, 2>,
    threshold: Tensor<B, 1>,
    leak: Tensor<B, 1>,
    options: NeuronOptions,
) -> Tensor<B, 2> {
    let (threshold, leak) = (threshold.unsqueeze::<2>(), leak.unsqueeze::<2>());
    let mut u = rest(&currents).unsqueeze();
    let mut sent = u.zeros_like();
    let mut spikes = Vec::with_capacity(currents.dims()[0]);
    for current in currents.split(1, 0) {
        let previous = sent;
        u = integrate(u, previous.clone().detach(), current, &threshold, &leak, options.reset);
        let z = u.clone() / threshold.clone() - 1.0;
        let surrogate_grad = surrogate::derivative(options.surrogate, z.clone().detach());
        sent = fire(&u, &threshold).detach() + surrogate_grad * (z.clone() - z.detach());
        spikes.push(match options.step_order {
            StepOrder::IntegrateThenFire => sent.clone(),
            StepOrder::FireThenIntegrate => previous,
        });
    }
    Tensor::cat(spikes, 0)
}

/// The membrane potentials `[1, neurons]` after each step, from rest.
fn trajectory<B: Backend>(
    currents: Tensor<B, 2>,
    threshold: &Tensor<B, 2>,
    leak: &Tensor<B, 2>,
    reset: Reset,
) -> Vec<Tensor<B, 2>> {
    let mut u = rest(&currents).unsqueeze();
    let step = |current| {
        let spikes = fire(&u, threshold).detach();
        u = integrate(u.clone(), spikes, current, threshold, leak, reset);
        u.clone()
    };
    currents.split(1, 0).into_iter().map(step).collect()
}

/// The membrane potentials at rest: zeros.
fn rest<B: Backend>(currents: &Tensor<B, 2>) -> Tensor<B, 1> {
    let options = (&currents.device(), currents.dtype());
    Tensor::zeros([currents.dims()[1]], options)
}

/// 1 where the membrane potential is above the threshold, else 0.
fn fire<B: Backend>(u: &Tensor<B, 2>, threshold: &Tensor<B, 2>) -> Tensor<B, 2> {
    let fires = u.clone().greater(threshold.clone().expand(u.shape()));
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
