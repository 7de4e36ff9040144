//! A layer of spiking neurons as a Burn module.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::neuron::NeuronOptions;

use crate::backend::{SpikingBackend, from_primitive, into_primitive};
use crate::neuron::NeuronConfig;

/// Spiking neurons that share a threshold and a leak, with the equations of [`crate::neuron`].
///
/// Threshold and leak are saved and loaded like weights but not trained: they take no gradient on
/// any backend. They are tensors because Burn leaves plain numbers out of a module's state.
#[derive(Module, Debug)]
pub struct SpikingNeurons<B: Backend> {
    /// The threshold `v`, `[1]`.
    pub threshold: Param<Tensor<B, 1>>,
    /// The leak `λ`, `[1]`.
    pub leak: Param<Tensor<B, 1>>,
    /// Reset, step order and surrogate; they are not part of the module's state.
    #[module(skip)]
    pub options: NeuronOptions,
}

impl<B: Backend> SpikingNeurons<B> {
    /// Neurons with the given threshold, which must be above 0.
    pub fn new(config: &NeuronConfig, threshold: f32, device: &B::Device) -> Self {
        Self {
            threshold: constant(threshold, device),
            leak: constant(config.leak as f32, device),
            options: config.options(),
        }
    }

    /// These neurons with another threshold, which must be above 0.
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        let device = self.threshold.device();
        let id = self.threshold.id;
        self.threshold = Param::initialized(id, Tensor::from_floats([threshold], &device));
        self
    }

    /// Reads the threshold from the device. On a GPU this waits until all queued work is done.
    pub fn threshold_value(&self) -> f32 {
        let data = self.threshold.val().into_data();
        data.iter::<f32>().next().unwrap_or(f32::NAN)
    }
}

impl<B: SpikingBackend> SpikingNeurons<B> {
    /// The spikes that the currents cause from rest. Differentiable with respect to the currents.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, ...]`
    /// - result: the shape of `currents`
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

    /// The spikes that the currents cause from the given membrane potentials, and the membrane
    /// potentials after the last step. `None` is rest. Not differentiable.
    ///
    /// A long simulation can be split over several calls to bound its memory; the results have the
    /// same bits.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, ...]`
    /// - `membrane`: `[batch, ...]`
    /// - result: the shapes of `currents` and of `membrane`
    ///
    /// # Panics
    ///
    /// Panics if the first dimension of `currents` is not a multiple of `time_steps`, or if
    /// `membrane` does not have the shape of one time step.
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
        assert_eq!(membrane.dims(), state_shape, "shape of the membrane potentials");

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

/// Reshapes `[steps * batch, ...]` to `[steps, neurons]`, with the neurons of all images.
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
