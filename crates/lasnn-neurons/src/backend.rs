//! The few operations that a backend makes fast.

use burn::tensor::{
    Shape, Tensor, TensorData, TensorPrimitive, backend::Backend, ops::FloatTensor,
};

use lasnn_backend::DenseBackend;

use crate::network::{self, NetworkPass};
use crate::reference;
use lasnn_core::neuron::NeuronOptions;

/// A backend that can run spiking neurons over many time steps at once.
///
/// Every method has a default body made of stock tensor operations, the
/// [`reference`](mod@reference), which is right on any backend and slow: it stores every
/// intermediate tensor of every step. The kernels that replace it are compared with it by
/// [`crate::parity`] and by this crate's tests.
///
/// The methods work on primitives because that is what backends are made of;
/// [`crate::SpikingNeurons`] is the way in for everybody else. Threshold and leak are tensors `[1]`
/// of the same float type as the currents, so that a GPU reads them without stopping for the host.
/// The equations are those of [`crate::neuron`].
///
/// On an autodiff backend, `scan` is differentiable with respect to the currents; threshold and
/// leak get no gradient, and neither `advance` nor `scan_backward` can be differentiated.
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
    /// The membrane potential is computed again from the currents: that costs less than keeping it
    /// in memory for every layer from the forward to the backward pass.
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
    /// potential `[neurons]`, and the membrane potential after the last step.
    ///
    /// Advancing in pieces gives the same bits as advancing at once.
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

    /// Runs `run` on the numbers of the tensors, row by row, where they are `f32` in host memory;
    /// `None`, without a call, anywhere else. No tensors at all ask whether it is worth trying.
    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        let _ = (tensors, run);
        None
    }

    /// A tensor of `f32` numbers that were computed in host memory.
    fn from_host(numbers: Vec<f32>, shape: Shape, device: &Self::Device) -> FloatTensor<Self> {
        Self::float_from_data(TensorData::new(numbers, shape), device)
    }

    /// A whole spiking network from rest, computed only where neurons fire; `None` on a backend
    /// without such a kernel, where it has to be composed of the operations above.
    ///
    /// The results are the readout `[batch, classes]` and, for each site of which something is shown, how often
    /// its neurons fired, `[batch, channels, height, width]`, or the squares of that, added up over the
    /// channels, `[batch, 1, height, width]`. They are differentiable with respect to the weights and to
    /// currents from outside.
    fn network(pass: NetworkPass<Self>) -> Option<Vec<FloatTensor<Self>>> {
        network::forward::<Self>(&pass)
    }
}

/// A primitive as a tensor.
pub(crate) fn from_primitive<B: Backend, const D: usize>(
    primitive: FloatTensor<B>,
) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// A tensor as its primitive.
pub(crate) fn into_primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
