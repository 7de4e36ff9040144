//! A layer of (leaky) integrate-and-fire neurons as a Burn module.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::neuron::NeuronOptions;

use super::LifConfig;
use crate::backend::{ScanParams, SpikingBackend, from_primitive, into_primitive};
use crate::model::{FusedNeurons, NeuronKind, NeuronModel, TrainedParams};
use crate::range::{constrained_leak, constrained_threshold};
use crate::reference;
use crate::tensors::{by_step, numbers, of_channels, of_neurons, of_state, of_step};
use crate::tensors::{param, replaced};

/// A layer of (leaky) integrate-and-fire neurons, with the equations of [`crate::models::lif`].
///
/// The parameters are tensors, because Burn leaves plain numbers out of a module's state, and
/// because they can be trained ([`Lif::with_trained`]).
#[derive(Module, Debug)]
pub struct Lif<B: Backend> {
    /// The threshold `v`, above 0: `[1]`, or `[channels]` for a threshold of each channel.
    pub threshold: Param<Tensor<B, 1>>,
    /// The leak `λ`, `[1]`.
    pub leak: Param<Tensor<B, 1>>,
    /// The membrane potentials before the first step: `[1]`, or `[neurons]` for one of each neuron
    /// of an image, in row-major order. `None` is rest.
    pub initial_membrane: Option<Param<Tensor<B, 1>>>,
    /// Reset, step order and surrogate; they are not part of the module's state.
    #[module(skip)]
    pub options: NeuronOptions,
}

impl<B: Backend> Lif<B> {
    /// Neurons that start at rest and share the given threshold, which must be above 0. No
    /// parameter is trained.
    pub fn new(config: &LifConfig, threshold: f32, device: &B::Device) -> Self {
        Self {
            threshold: param(vec![threshold], device),
            leak: param(vec![config.leak.value as f32], device),
            initial_membrane: None,
            options: config.options(),
        }
    }

    /// These neurons with another leak.
    pub fn with_leak(mut self, leak: f32) -> Self {
        self.leak = replaced(&self.leak, &[leak]);
        self
    }

    /// These neurons with one initial membrane potential, or with one for each neuron of an image.
    pub fn with_initial_membrane(mut self, potentials: &[f32]) -> Self {
        self.initial_membrane = Some(match &self.initial_membrane {
            Some(old) => replaced(old, potentials),
            None => param(potentials.to_vec(), &self.threshold.device()),
        });
        self
    }

    /// These neurons with gradients for the given parameters, and for no others.
    pub fn with_trained(mut self, trained: TrainedParams) -> Self {
        self.threshold = self.threshold.set_require_grad(trained.threshold);
        self.leak = self.leak.set_require_grad(trained.leak);
        self.initial_membrane =
            self.initial_membrane.map(|u| u.set_require_grad(trained.initial_membrane));
        self
    }

    /// The parameters for the neurons of a batch. `shape` is that of one time step, `[batch, ...]`;
    /// its second dimension are the channels.
    pub fn scan_params<const D: usize>(&self, shape: [usize; D]) -> ScanParams<Tensor<B, 1>> {
        let threshold = self.threshold.val();
        let membrane = match &self.initial_membrane {
            None => Tensor::zeros([1], (&threshold.device(), threshold.dtype())),
            Some(potentials) => of_neurons(potentials.val(), [shape[0], 1]),
        };
        ScanParams { membrane, threshold: of_channels(threshold, shape), leak: self.leak.val() }
    }
}

impl<B: Backend> NeuronModel<B> for Lif<B> {
    fn options(&self) -> NeuronOptions {
        self.options
    }

    fn forward<const D: usize>(&self, currents: Tensor<B, D>, time_steps: usize) -> Tensor<B, D>
    where
        B: SpikingBackend,
    {
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let params = self.scan_params(of_step(shape, time_steps)).map(into_primitive);
        let spikes = B::scan(into_primitive(currents), params, self.options);
        from_primitive::<B, 2>(spikes).reshape(shape)
    }

    fn advance<const D: usize>(
        &self,
        currents: Tensor<B, D>,
        membrane: Option<Tensor<B, D>>,
        time_steps: usize,
    ) -> (Tensor<B, D>, Tensor<B, D>)
    where
        B: SpikingBackend,
    {
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let step_shape = of_step(shape, time_steps);
        let mut params = self.scan_params(step_shape);
        if let Some(membrane) = membrane {
            params.membrane = of_state(membrane, step_shape);
        }
        let (spikes, membrane) =
            B::advance(into_primitive(currents), params.map(into_primitive), self.options);
        (
            from_primitive::<B, 2>(spikes).reshape(shape),
            from_primitive::<B, 1>(membrane).reshape(step_shape),
        )
    }

    fn membranes<const D: usize>(&self, currents: Tensor<B, D>, time_steps: usize) -> Tensor<B, D> {
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let params = self.scan_params(of_step(shape, time_steps));
        reference::membranes(currents, params, self.options).reshape(shape)
    }

    fn thresholds(&self) -> Vec<f32> {
        numbers(&self.threshold)
    }

    fn with_thresholds(mut self, thresholds: &[f32]) -> Self {
        self.threshold = replaced(&self.threshold, thresholds);
        self
    }

    fn initial_membranes(&self) -> Option<Vec<f32>> {
        self.initial_membrane.as_ref().map(numbers)
    }

    fn with_initial_membranes(self, potentials: &[f32]) -> Self {
        self.with_initial_membrane(potentials)
    }

    fn constrained(mut self) -> Self {
        self.threshold = constrained_threshold(self.threshold);
        self.leak = constrained_leak(self.leak);
        self
    }

    fn fused(&self) -> Option<FusedNeurons<B>> {
        Some(FusedNeurons {
            threshold: self.threshold.val(),
            leak: self.leak.val(),
            initial_membrane: self.initial_membrane.as_ref().map(Param::val),
            options: self.options,
        })
    }
}
