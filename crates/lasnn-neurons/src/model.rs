//! The traits of a neuron model: its configuration in a recipe ([`NeuronKind`]), and a layer of
//! such neurons ([`NeuronModel`]).

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Kind;
use lasnn_core::neuron::NeuronOptions;

use crate::backend::SpikingBackend;
use crate::params::Sharing;

/// The configuration of a neuron model: the table `[spiking.neuron]` of a recipe.
pub trait NeuronKind {
    /// The name in a recipe: the `kind` of the table.
    const NAME: &'static str;
    /// What the model is, in one line.
    const ABOUT: &'static str;
    /// The publication that has the model.
    const SOURCE: &'static str;

    /// A layer of such neurons.
    type Neurons<B: Backend>: NeuronModel<B>;

    /// Reset, step order and surrogate.
    fn options(&self) -> NeuronOptions;

    /// Checks the ranges of all numbers.
    ///
    /// # Errors
    ///
    /// Returns the first number that is out of range, with its key, its value and the range.
    fn check(&self) -> Result<(), NeuronError>;

    /// The neurons of a layer with the shape `[channels, height, width]`, whose thresholds have the
    /// value `threshold`, which must be above 0.
    fn init<B: Backend>(
        &self,
        threshold: f32,
        shape: [usize; 3],
        device: &B::Device,
    ) -> Self::Neurons<B>;

    /// Whether the fused kernels run this model. If so, [`NeuronModel::fused`] returns the
    /// parameters.
    fn is_fused(&self) -> bool {
        false
    }

    /// The parameters that are trained.
    fn trained(&self) -> TrainedParams;

    /// The membrane potential of all neurons before the first step, in thresholds.
    fn initial_membrane(&self) -> f64 {
        0.0
    }

    /// Which neurons share thresholds and initial membrane potentials.
    fn sharing(&self) -> Sharing;
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

/// The entry of the model `K` in `lasnn list`.
pub(crate) const fn kind_of<K: NeuronKind>() -> Kind {
    Kind { name: K::NAME, about: K::ABOUT, source: K::SOURCE }
}

/// A layer of neurons, which turns currents into spikes.
///
/// Time is folded into the batch, time-major. The parameters are saved and loaded like weights.
pub trait NeuronModel<B: Backend>: Module<B> {
    /// Reset, step order and surrogate.
    fn options(&self) -> NeuronOptions;

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
    fn forward<const D: usize>(&self, currents: Tensor<B, D>, time_steps: usize) -> Tensor<B, D>
    where
        B: SpikingBackend;

    /// The spikes that the currents cause from the given membrane potentials, and the membrane
    /// potentials after the last step. `None` are the initial ones. The gradients are unspecified.
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
    fn advance<const D: usize>(
        &self,
        currents: Tensor<B, D>,
        membrane: Option<Tensor<B, D>>,
        time_steps: usize,
    ) -> (Tensor<B, D>, Tensor<B, D>)
    where
        B: SpikingBackend;

    /// The membrane potentials after each step, from the initial ones. Differentiable like
    /// [`NeuronModel::forward`].
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, channels, ...]`
    /// - result: the shape of `currents`
    ///
    /// # Panics
    ///
    /// Panics if the first dimension is not a multiple of `time_steps`.
    fn membranes<const D: usize>(&self, currents: Tensor<B, D>, time_steps: usize) -> Tensor<B, D>;

    /// Reads the thresholds from the device: one, or one of each channel. On a GPU this waits until
    /// all queued work is done.
    fn thresholds(&self) -> Vec<f32>;

    /// These neurons with one threshold, or with one for each channel. Thresholds are above 0.
    fn with_thresholds(self, thresholds: &[f32]) -> Self;

    /// These neurons with another threshold, which must be above 0.
    fn with_threshold(self, threshold: f32) -> Self {
        self.with_thresholds(&[threshold])
    }

    /// The mean of the thresholds, read as [`NeuronModel::thresholds`] does.
    fn threshold_value(&self) -> f32 {
        let thresholds = self.thresholds();
        thresholds.iter().sum::<f32>() / thresholds.len() as f32
    }

    /// Reads the initial membrane potentials from the device: one, or one for each neuron of an
    /// image in row-major order. `None` if all neurons start at rest.
    fn initial_membranes(&self) -> Option<Vec<f32>> {
        None
    }

    /// These neurons with other initial membrane potentials, in the form of
    /// [`NeuronModel::initial_membranes`]. Neurons of a model without such potentials stay as they
    /// are.
    fn with_initial_membranes(self, _potentials: &[f32]) -> Self {
        self
    }

    /// These neurons with their trained parameters moved into their ranges, as after a training
    /// step.
    fn constrained(self) -> Self {
        self
    }

    /// The parameters for the fused kernels. `None` if there is no kernel for such neurons; a
    /// network of them runs layer by layer.
    fn fused(&self) -> Option<FusedNeurons<B>> {
        None
    }
}

/// The parameters with which the fused kernels run a layer of neurons.
#[derive(Clone, Debug)]
pub struct FusedNeurons<B: Backend> {
    /// The threshold, `[1]` or `[channels]`.
    pub threshold: Tensor<B, 1>,
    /// The leak, `[1]`.
    pub leak: Tensor<B, 1>,
    /// The initial membrane potentials, `[1]` or one for each neuron of an image. `None` is rest.
    pub initial_membrane: Option<Tensor<B, 1>>,
    /// Reset, step order and surrogate.
    pub options: NeuronOptions,
}

/// A number of a configuration of neurons that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{key}` is {found}, expected {expected}")]
pub struct NeuronError {
    /// The key in the table of the neurons.
    pub key: &'static str,
    /// The number found.
    pub found: f64,
    /// The range that was expected.
    pub expected: &'static str,
}

/// Checks that the parameters of a surrogate are in range in single precision, in which the kernels
/// compute.
///
/// # Errors
///
/// Returns the first wrong parameter with its key, its value and the range.
pub fn check_surrogate(options: NeuronOptions) -> Result<(), NeuronError> {
    for (key, found) in options.surrogate.parameters() {
        let single = found as f32;
        if !(single > 0.0 && single.is_finite() && (1.0 / single).is_finite()) {
            return Err(NeuronError { key, found, expected: "above 0 and finite" });
        }
    }
    Ok(())
}
