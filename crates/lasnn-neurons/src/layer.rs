//! A layer of spiking neurons as a module.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Tensor, backend::Backend};

use crate::backend::{SpikingBackend, from_primitive, into_primitive};
use crate::neuron::NeuronConfig;
use lasnn_core::neuron::NeuronOptions;

/// Spiking neurons that share a threshold and a leak; the equations are those of
/// [`crate::neuron`].
///
/// Threshold and leak are saved and loaded like weights, but never trained: they take no gradient
/// on any backend. They are tensors because Burn leaves plain numbers out of a module's state.
#[derive(Module, Debug)]
pub struct SpikingNeurons<B: Backend> {
    /// The threshold `v`, `[1]`.
    pub threshold: Param<Tensor<B, 1>>,
    /// The leak `λ`, `[1]`.
    pub leak: Param<Tensor<B, 1>>,
    /// Reset, step order and surrogate, which a recipe fixes.
    #[module(skip)]
    pub options: NeuronOptions,
}

impl<B: Backend> SpikingNeurons<B> {
    /// Neurons with the given threshold, above 0.
    pub fn new(config: &NeuronConfig, threshold: f32, device: &B::Device) -> Self {
        Self {
            threshold: constant(threshold, device),
            leak: constant(config.leak as f32, device),
            options: config.options(),
        }
    }

    /// The same neurons with another threshold, above 0.
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        let device = self.threshold.device();
        let id = self.threshold.id;
        self.threshold = Param::initialized(id, Tensor::from_floats([threshold], &device));
        self
    }

    /// The threshold, read from the device: on a GPU this waits for all work before it.
    pub fn threshold_value(&self) -> f32 {
        let data = self.threshold.val().into_data();
        data.iter::<f32>().next().unwrap_or(f32::NAN)
    }
}

impl<B: SpikingBackend> SpikingNeurons<B> {
    /// The spikes that currents cause from rest. Differentiable with respect to the currents.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, ...]`
    /// - result: the same
    ///
    /// # Panics
    ///
    /// Panics if the first dimension is not a multiple of `time_steps`.
    pub fn forward<const D: usize>(
        &self,
        currents: Tensor<B, D>,
        time_steps: usize,
    ) -> Tensor<B, D> {
        let shape = currents.shape();
        let spikes = B::scan(
            into_primitive(by_step(currents, time_steps)),
            into_primitive(self.threshold.val()),
            into_primitive(self.leak.val()),
            self.options,
        );
        from_primitive::<B, 2>(spikes).reshape(shape)
    }

    /// The spikes that currents cause from a membrane potential (`None`: from rest), and the
    /// membrane potential they leave. Carries no gradient.
    ///
    /// Any number of steps can be simulated in pieces of bounded memory, with the same bits as at
    /// once.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, ...]`
    /// - `membrane`: `[batch, ...]`
    /// - result: as `currents`, and as `membrane`
    ///
    /// # Panics
    ///
    /// Panics if the first dimension of `currents` is not a multiple of `time_steps`, or if the
    /// membrane potential has another shape than one step of them.
    pub fn advance<const D: usize>(
        &self,
        currents: Tensor<B, D>,
        membrane: Option<Tensor<B, D>>,
        time_steps: usize,
    ) -> (Tensor<B, D>, Tensor<B, D>) {
        let shape = currents.shape();
        let mut state_shape = currents.dims();
        let currents = by_step(currents, time_steps);
        state_shape[0] /= time_steps;

        let options = (&currents.device(), currents.dtype());
        let membrane = membrane.unwrap_or_else(|| Tensor::zeros(state_shape, options));
        assert_eq!(membrane.dims(), state_shape, "shape of the membrane potential");

        let neurons = currents.dims()[1];
        let (spikes, membrane) = B::advance(
            into_primitive(currents),
            into_primitive(membrane.reshape([neurons])),
            into_primitive(self.threshold.val()),
            into_primitive(self.leak.val()),
            self.options,
        );
        (
            from_primitive::<B, 2>(spikes).reshape(shape),
            from_primitive::<B, 1>(membrane).reshape(state_shape),
        )
    }
}

/// `[steps * batch, ...]` as `[steps, neurons of the whole batch]`.
fn by_step<B: Backend, const D: usize>(tensor: Tensor<B, D>, time_steps: usize) -> Tensor<B, 2> {
    let rows = tensor.dims()[0];
    assert!(
        time_steps > 0 && rows.is_multiple_of(time_steps),
        "{rows} rows are not {time_steps} time steps of a batch"
    );
    let neurons = tensor.shape().num_elements() / time_steps;
    tensor.reshape([time_steps, neurons])
}

/// A parameter that takes no gradient.
fn constant<B: Backend>(value: f32, device: &B::Device) -> Param<Tensor<B, 1>> {
    Param::initialized(ParamId::new(), Tensor::from_floats([value], device))
}
