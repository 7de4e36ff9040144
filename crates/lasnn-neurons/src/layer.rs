//! A layer of spiking neurons as a Burn module.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::neuron::NeuronOptions;

use crate::backend::{ScanParams, SpikingBackend, from_primitive, into_primitive};
use crate::neuron::NeuronConfig;
use crate::params::{InitialMembranePer, ThresholdPer};

/// A layer of spiking neurons, with the equations of [`crate::neuron`].
///
/// The parameters are saved and loaded like weights. They are tensors, because Burn leaves plain
/// numbers out of a module's state, and because they can be trained
/// ([`SpikingNeurons::with_trained`]).
#[derive(Module, Debug)]
pub struct SpikingNeurons<B: Backend> {
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

/// Which parameters of a layer of neurons are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainedParams {
    /// The threshold.
    pub threshold: bool,
    /// The leak.
    pub leak: bool,
    /// The initial membrane potentials.
    pub initial_membrane: bool,
}

impl<B: Backend> SpikingNeurons<B> {
    /// Neurons that start at rest and share the given threshold, which must be above 0. No
    /// parameter is trained.
    pub fn new(config: &NeuronConfig, threshold: f32, device: &B::Device) -> Self {
        Self {
            threshold: param(vec![threshold], device),
            leak: param(vec![config.leak.value as f32], device),
            initial_membrane: None,
            options: config.options(),
        }
    }

    /// The neurons of a layer with the shape `[channels, height, width]`, with the thresholds, the
    /// initial membrane potentials and the trained parameters that `config` describes.
    pub fn of_layer(
        config: &NeuronConfig,
        threshold: f32,
        [channels, height, width]: [usize; 3],
        device: &B::Device,
    ) -> Self {
        let mut neurons = Self::new(config, threshold, device);
        if config.threshold.per == ThresholdPer::Channel {
            neurons = neurons.with_thresholds(&vec![threshold; channels]);
        }
        if !config.initial_membrane.is_rest() {
            let count = match config.initial_membrane.per {
                InitialMembranePer::Layer => 1,
                InitialMembranePer::Neuron => channels * height * width,
            };
            let potential = config.initial_membrane.value as f32 * threshold;
            neurons = neurons.with_initial_membrane(&vec![potential; count]);
        }
        neurons.with_trained(config.trained())
    }

    /// These neurons with another threshold, which must be above 0.
    pub fn with_threshold(self, threshold: f32) -> Self {
        self.with_thresholds(&[threshold])
    }

    /// These neurons with one threshold, or with one for each channel.
    pub fn with_thresholds(mut self, thresholds: &[f32]) -> Self {
        self.threshold = replaced(&self.threshold, thresholds);
        self
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

    /// Reads the thresholds from the device. On a GPU this waits until all queued work is done.
    pub fn thresholds(&self) -> Vec<f32> {
        self.threshold.val().into_data().iter::<f32>().collect()
    }

    /// The mean of the thresholds, read as [`SpikingNeurons::thresholds`] does.
    pub fn threshold_value(&self) -> f32 {
        let thresholds = self.thresholds();
        thresholds.iter().sum::<f32>() / thresholds.len() as f32
    }

    /// The parameters for the neurons of a batch. `shape` is that of one time step, `[batch, ...]`;
    /// its second dimension are the channels.
    pub fn scan_params<const D: usize>(&self, shape: [usize; D]) -> ScanParams<Tensor<B, 1>> {
        let threshold = self.threshold.val();
        let membrane = match &self.initial_membrane {
            None => Tensor::zeros([1], (&threshold.device(), threshold.dtype())),
            Some(potentials) => of_neurons(potentials.val(), [shape[0], 1]),
        };
        let inner: usize = shape.iter().skip(2).product();
        let threshold = of_neurons(threshold, [shape[0], inner]);
        ScanParams { membrane, threshold, leak: self.leak.val() }
    }
}

/// A parameter `[1]` as it is, and a parameter `[count]` for all neurons, in the order
/// `[outer, count, inner]`.
fn of_neurons<B: Backend>(param: Tensor<B, 1>, [outer, inner]: [usize; 2]) -> Tensor<B, 1> {
    match param.dims() {
        [1] => param,
        [count] => {
            let neurons = outer * count * inner;
            param.reshape([1, count, 1]).expand([outer, count, inner]).reshape([neurons])
        }
    }
}

impl<B: SpikingBackend> SpikingNeurons<B> {
    /// The spikes that the currents cause from the initial membrane potentials. Differentiable with
    /// respect to the currents and the trained parameters.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, channels, ...]`
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
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let mut of_step = shape;
        of_step[0] /= time_steps;
        let params = self.scan_params(of_step).map(into_primitive);
        let spikes = B::scan(into_primitive(currents), params, self.options);
        from_primitive::<B, 2>(spikes).reshape(shape)
    }

    /// The spikes that the currents cause from the given membrane potentials, and the membrane
    /// potentials after the last step. `None` are the initial ones. Not differentiable.
    ///
    /// A long simulation can be split over several calls to bound its memory; the results have the
    /// same bits.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, channels, ...]`
    /// - `membrane`: `[batch, channels, ...]`
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
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let mut state_shape = shape;
        state_shape[0] /= time_steps;

        let neurons = currents.dims()[1];
        let mut params = self.scan_params(state_shape);
        if let Some(membrane) = membrane {
            assert_eq!(membrane.dims(), state_shape, "shape of the membrane potentials");
            params.membrane = membrane.reshape([neurons]);
        }
        let (spikes, membrane) =
            B::advance(into_primitive(currents), params.map(into_primitive), self.options);
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
fn param<B: Backend>(values: Vec<f32>, device: &B::Device) -> Param<Tensor<B, 1>> {
    let shape = [values.len()];
    Param::initialized(ParamId::new(), Tensor::from_data(TensorData::new(values, shape), device))
}

/// A parameter with other numbers, which takes a gradient if the old one does.
fn replaced<B: Backend>(old: &Param<Tensor<B, 1>>, values: &[f32]) -> Param<Tensor<B, 1>> {
    let new = Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &old.device());
    Param::initialized(old.id, new).set_require_grad(old.is_require_grad())
}
