//! The trait of a backend that runs spiking neurons.

use burn::tensor::{
    Shape, Tensor, TensorData, TensorPrimitive, backend::Backend, ops::FloatTensor,
};

use lasnn_backend::DenseBackend;
use lasnn_core::neuron::NeuronOptions;

use crate::network::{self, NetworkPass};
use crate::reference;

/// A backend that runs spiking neurons over all time steps in one operation.
///
/// `scan`, `scan_backward` and `advance` have a default body made of Burn's tensor operations, the
/// [`reference`](mod@reference). It is correct on any backend and slow: it stores every
/// intermediate tensor of every time step. [`crate::parity`] and this crate's tests compare the
/// kernels that replace it with the reference.
///
/// The methods work on primitives, because Burn's backends do. Networks use the module
/// [`crate::SpikingNeurons`], which takes tensors. Threshold and leak are tensors `[1]` of the same
/// float type as the currents, so that a GPU kernel reads them without a transfer to the host. The
/// equations are those of [`crate::neuron`].
///
/// On an autodiff backend, `scan` is differentiable with respect to the currents. Threshold and
/// leak get no gradient. `advance` and `scan_backward` are not differentiable.
pub trait SpikingBackend: DenseBackend {
    /// The spikes `[steps, neurons]` that the currents `[steps, neurons]` cause from rest.
    fn scan(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let spikes = reference::scan::<Self>(
            from_primitive(currents),
            from_primitive(threshold),
            from_primitive(leak),
            options,
        );
        into_primitive(spikes)
    }

    /// The gradient `[steps, neurons]` with respect to the currents of [`SpikingBackend::scan`],
    /// given the gradient `[steps, neurons]` with respect to its spikes.
    ///
    /// The membrane potentials are computed again from the currents. This costs less than storing
    /// them for every layer from the forward to the backward pass.
    fn scan_backward(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let currents_grad = reference::scan_backward::<Self>(
            from_primitive(currents),
            from_primitive(threshold),
            from_primitive(leak),
            from_primitive(output_grad),
            options,
        );
        into_primitive(currents_grad)
    }

    /// The spikes `[steps, neurons]` that the currents `[steps, neurons]` cause from the membrane
    /// potentials `[neurons]`, and the membrane potentials after the last step.
    ///
    /// The steps can be split over several calls; the results have the same bits.
    fn advance(
        currents: FloatTensor<Self>,
        membrane: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (spikes, membrane) = reference::advance::<Self>(
            from_primitive(currents),
            from_primitive(membrane),
            from_primitive(threshold),
            from_primitive(leak),
            options,
        );
        (into_primitive(spikes), into_primitive(membrane))
    }

    /// Calls `run` with the elements of the tensors in row-major order, if all tensors are `f32` in
    /// host memory. Otherwise returns `None` without a call.
    ///
    /// An empty list of tensors tells whether the backend has its tensors in host memory.
    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        let _ = (tensors, run);
        None
    }

    /// A tensor of `f32` values that were computed in host memory.
    fn from_host(values: Vec<f32>, shape: Shape, device: &Self::Device) -> FloatTensor<Self> {
        Self::float_from_data(TensorData::new(values, shape), device)
    }

    /// A whole spiking network from rest, in kernels that compute only where neurons fire. Returns
    /// `None` on a backend without such kernels; the network then has to run layer by layer with
    /// the operations above.
    ///
    /// The first result is the readout `[batch, classes]`. One result follows for each layer with
    /// statistics in [`NetworkPass::stats`]: the spike counts `[batch, channels, height, width]`,
    /// or the squared spike counts summed over the channels, `[batch, 1, height, width]`. All
    /// results are differentiable with respect to the weights, and to the input if it is
    /// [`NetworkInput::Currents`](crate::NetworkInput::Currents).
    fn network(pass: NetworkPass<Self>) -> Option<Vec<FloatTensor<Self>>> {
        network::forward::<Self>(&pass)
    }
}

/// Wraps a primitive into a tensor.
pub(crate) fn from_primitive<B: Backend, const D: usize>(
    primitive: FloatTensor<B>,
) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// Takes the primitive out of a tensor.
pub(crate) fn into_primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
