//! Calls the CPU kernels, which work on slices, with tensors.

use std::borrow::Cow;

use burn::tensor::{DType, Shape, TensorMetadata};
use lasnn_core::neuron::NeuronOptions;
use lasnn_core::surrogate::Real;

use super::cpu::{self, Neurons};
use crate::backend::{ScanGrads, ScanParams};

/// A tensor in host memory with elements of type `F`.
pub(super) trait HostTensor<F: Clone>: TensorMetadata {
    /// The elements in row-major order; copied only if they lie in memory in another order.
    fn read(&self) -> Cow<'_, [F]>;

    /// A tensor of the elements, which are in row-major order.
    fn write(elements: Vec<F>, shape: Shape) -> Self;
}

/// [`SpikingBackend::scan`](crate::SpikingBackend::scan).
pub(super) fn scan<F: Real, T: HostTensor<F>>(
    currents: T,
    params: ScanParams<T>,
    options: NeuronOptions,
) -> T {
    let width = currents.shape()[1];
    let (spikes, _) =
        with_neurons(&params, options, |neurons| cpu::advance(neurons, &currents.read(), width));
    T::write(spikes, currents.shape())
}

/// [`SpikingBackend::scan_backward`](crate::SpikingBackend::scan_backward).
pub(super) fn scan_backward<F: Real, T: HostTensor<F>>(
    currents: T,
    params: ScanParams<T>,
    output_grad: T,
    (options, with_params): (NeuronOptions, bool),
) -> ScanGrads<T> {
    let width = currents.shape()[1];
    let grads = with_neurons(&params, options, |neurons| {
        let tensors = (&*currents.read(), &*output_grad.read());
        cpu::scan_backward(neurons, tensors, width, with_params)
    });
    let of_neurons = |numbers| T::write(numbers, Shape::new([width]));
    ScanGrads {
        currents: T::write(grads.currents, currents.shape()),
        params: with_params.then(|| ScanParams {
            membrane: of_neurons(grads.membrane),
            threshold: of_neurons(grads.threshold),
            leak: of_neurons(grads.leak),
        }),
    }
}

/// [`SpikingBackend::advance`](crate::SpikingBackend::advance).
pub(super) fn advance<F: Real, T: HostTensor<F>>(
    currents: T,
    params: ScanParams<T>,
    options: NeuronOptions,
) -> (T, T) {
    let width = currents.shape()[1];
    let (spikes, membrane) =
        with_neurons(&params, options, |neurons| cpu::advance(neurons, &currents.read(), width));
    (T::write(spikes, currents.shape()), T::write(membrane, Shape::new([width])))
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

/// Calls `run` with the parameters in host memory.
fn with_neurons<F: Real, T: HostTensor<F>, R>(
    params: &ScanParams<T>,
    options: NeuronOptions,
    run: impl FnOnce(Neurons<'_, F>) -> R,
) -> R {
    let ScanParams { membrane, threshold, leak } = params;
    let [membrane, threshold, leak] = [membrane.read(), threshold.read(), leak.read()];
    run(Neurons { membrane: &membrane, threshold: &threshold, leak: &leak, options })
}
