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
/// [`crate::Lif`], which takes tensors. The parameters are tensors of the same float type as the
/// currents, so that a GPU kernel reads them without a transfer to the host. The equations are
/// those of [`crate::models::lif`].
///
/// On an autodiff backend, `scan` is differentiable with respect to the currents and to all
/// parameters. `advance` and `scan_backward` are not differentiable.
pub trait SpikingBackend: DenseBackend {
    /// The spikes `[steps, neurons]` that the currents `[steps, neurons]` cause.
    fn scan(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let params = params.map(from_primitive);
        into_primitive(reference::scan::<Self>(from_primitive(currents), params, options))
    }

    /// The gradients with respect to the currents and the parameters of [`SpikingBackend::scan`],
    /// given the gradient `[steps, neurons]` with respect to its spikes. Those of the parameters
    /// are computed only if `with_params`.
    ///
    /// The membrane potentials are computed again from the currents. This costs less than storing
    /// them for every layer from the forward to the backward pass.
    fn scan_backward(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        (options, with_params): (NeuronOptions, bool),
    ) -> ScanGrads<FloatTensor<Self>> {
        let (currents, output_grad) = (from_primitive(currents), from_primitive(output_grad));
        let params = params.map(from_primitive);
        let mut grads = reference::scan_backward::<Self>(currents, params, output_grad, options);
        grads.params = grads.params.filter(|_| with_params);
        grads.into_primitives()
    }

    /// The spikes `[steps, neurons]` that the currents `[steps, neurons]` cause from the membrane
    /// potentials of `params`, and the membrane potentials `[neurons]` after the last step.
    ///
    /// The steps can be split over several calls; the results have the same bits.
    fn advance(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let params = params.map(from_primitive);
        let (spikes, membrane) =
            reference::advance::<Self>(from_primitive(currents), params, options);
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
    /// the operations above. An autodiff backend also returns `None` for neurons without a backward
    /// pass ([`has_backward`](network::has_backward)).
    ///
    /// The first result is the readout `[batch, classes]`. The values that [`NetworkPass::probes`]
    /// names follow:
    ///
    /// - the currents into the readout at each step, `[steps, batch, classes]`,
    /// - for each layer with a statistic, the spike counts `[batch, channels, height, width]`, or
    ///   the squared spike counts summed over the channels, `[batch, 1, height, width]`,
    /// - spike activation maps `[steps, batch, height, width]`,
    /// - membrane potentials after each step, `[steps, batch, channels, height, width]`.
    ///
    /// All results are differentiable with respect to the parameters, and to the input if it is
    /// [`NetworkInput::Currents`](crate::NetworkInput::Currents).
    fn network(pass: NetworkPass<Self>) -> Option<Vec<FloatTensor<Self>>> {
        network::forward::<Self>(&pass)
    }
}

/// The parameters of a call: each has one number, `[1]`, or one for each neuron, `[neurons]`. `T`
/// is a tensor or a primitive.
#[derive(Clone, Debug)]
pub struct ScanParams<T> {
    /// The membrane potentials before the first step.
    pub membrane: T,
    /// The threshold `v`, above 0.
    pub threshold: T,
    /// The leak `λ`, above 0 and at most 1.
    pub leak: T,
}

impl<T> ScanParams<T> {
    /// The same parameters as another type.
    pub fn map<U>(self, change: impl Fn(T) -> U) -> ScanParams<U> {
        ScanParams {
            membrane: change(self.membrane),
            threshold: change(self.threshold),
            leak: change(self.leak),
        }
    }
}

/// The gradients of [`SpikingBackend::scan`]. Those of the parameters have one number for each
/// neuron, whatever the shape of the parameter: a caller that shares a parameter sums them.
#[derive(Clone, Debug)]
pub struct ScanGrads<C, T = C> {
    /// With respect to the currents, `[steps, neurons]`.
    pub currents: C,
    /// With respect to the parameters, each `[neurons]`, if they were wanted.
    pub params: Option<ScanParams<T>>,
}

impl<B: Backend> ScanGrads<Tensor<B, 2>, Tensor<B, 1>> {
    pub(crate) fn into_primitives(self) -> ScanGrads<FloatTensor<B>> {
        let params = self.params.map(|params| params.map(into_primitive));
        ScanGrads { currents: into_primitive(self.currents), params }
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
