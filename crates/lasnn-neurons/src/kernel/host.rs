//! Calls the CPU kernels, which work on slices, with tensors.

use std::borrow::Cow;

use burn::tensor::{DType, TensorMetadata};
use lasnn_core::neuron::NeuronOptions;
use lasnn_core::surrogate::Real;

use super::cpu::{self, Neurons};

/// A tensor in host memory with elements of type `F`.
pub(super) trait HostTensor<F: Clone>: TensorMetadata {
    /// The elements in row-major order; copied only if they lie in memory in another order.
    fn read(&self) -> Cow<'_, [F]>;

    /// A tensor of the elements, which are in row-major order, with the shape of `like`.
    fn write(elements: Vec<F>, like: &Self) -> Self;
}

/// [`SpikingBackend::scan`](crate::SpikingBackend::scan).
pub(super) fn scan<F: Real, T: HostTensor<F>>(
    currents: T,
    threshold: T,
    leak: T,
    options: NeuronOptions,
) -> T {
    let mut membrane = vec![F::ZERO; currents.shape()[1]];
    let neurons = neurons(&threshold, &leak, options);
    let spikes = cpu::advance(neurons, &currents.read(), &mut membrane);
    T::write(spikes, &currents)
}

/// [`SpikingBackend::scan_backward`](crate::SpikingBackend::scan_backward).
pub(super) fn scan_backward<F: Real, T: HostTensor<F>>(
    currents: T,
    threshold: T,
    leak: T,
    output_grad: T,
    options: NeuronOptions,
) -> T {
    let width = currents.shape()[1];
    let neurons = neurons(&threshold, &leak, options);
    let grad = cpu::scan_backward(neurons, &currents.read(), &output_grad.read(), width);
    T::write(grad, &currents)
}

/// [`SpikingBackend::advance`](crate::SpikingBackend::advance).
pub(super) fn advance<F: Real, T: HostTensor<F>>(
    currents: T,
    membrane: T,
    threshold: T,
    leak: T,
    options: NeuronOptions,
) -> (T, T) {
    let mut potentials = membrane.read().into_owned();
    let neurons = neurons(&threshold, &leak, options);
    let spikes = cpu::advance(neurons, &currents.read(), &mut potentials);
    (T::write(spikes, &currents), T::write(potentials, &membrane))
}

/// [`SpikingBackend::on_host`](crate::SpikingBackend::on_host).
pub(super) fn on_host<T: HostTensor<f32>, R>(
    tensors: &[T],
    run: impl FnOnce(&[&[f32]]) -> R,
) -> Option<R> {
    if tensors.iter().any(|tensor| tensor.dtype() != DType::F32) {
        return None;
    }
    let read: Vec<Cow<'_, [f32]>> = tensors.iter().map(T::read).collect();
    let slices: Vec<&[f32]> = read.iter().map(|elements| &elements[..]).collect();
    Some(run(&slices))
}

fn neurons<F: Real, T: HostTensor<F>>(
    threshold: &T,
    leak: &T,
    options: NeuronOptions,
) -> Neurons<F> {
    Neurons { threshold: threshold.read()[0], leak: leak.read()[0], options }
}
