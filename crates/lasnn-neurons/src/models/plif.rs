//! The parametric leaky integrate-and-fire neuron (PLIF), whose leak is trained: Fang et al.,
//! "Incorporating learnable membrane time constant to enhance learning of spiking neural networks",
//! 2021.
//!
//! Each layer has one number `w`, which may have any value. With the current `I^t` and the
//! threshold `v`, from rest:
//!
//! ```text
//! λ   = sigmoid(w) = 1 / (1 + exp(-w))
//! u^t = λ u^{t-1} + I^t - v o^{t-1}        reset `subtract`
//! u^t = λ u^{t-1} (1 - o^{t-1}) + I^t      reset `zero`
//! o^t = 1 if u^t > v, else 0
//! ```
//!
//! The time constant of the paper is `τ = 1 / (1 - λ)`, and its parameter is `-w`. The paper
//! multiplies the current by `1 / τ = 1 - λ`. Here the current has no such factor: for a given `λ`
//! the neuron is then that of [`lif`](super::lif), and a threshold that was balanced for its
//! currents keeps its meaning while `λ` changes.
//!
//! The gradients are those of Burn's autodiff, with a surrogate derivative for each spike and none
//! through the spikes of the reset. There is no kernel for this neuron; it consists of tensor
//! operations and runs layer by layer on every backend. In training it keeps several tensors of the
//! layer for each time step.

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;
use serde::{Deserialize, Serialize};

use crate::backend::{ScanParams, SpikingBackend};
use crate::model::{NeuronError, NeuronKind, NeuronModel, TrainedParams, check_surrogate};
use crate::params::{Sharing, ThresholdConfig, ThresholdPer};
use crate::range::constrained_threshold;
use crate::reference;
use crate::tensors::{by_step, numbers, of_channels, of_state, of_step, param, replaced};

/// Parametric leaky integrate-and-fire neurons, as a recipe describes them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlifConfig {
    /// The leak λ of all layers before training.
    pub leak: f64,
    /// Which neurons share a threshold, and whether thresholds are trained.
    pub threshold: ThresholdConfig,
    /// The effect of a spike on the membrane potential.
    pub reset: Reset,
    /// Whether a step fires after or before it integrates its current.
    pub step_order: StepOrder,
    /// The surrogate derivative of a spike.
    pub surrogate: Surrogate,
}

impl Default for PlifConfig {
    /// The leak is that of the paper's initial time constant of 2 steps.
    fn default() -> Self {
        Self {
            leak: 0.5,
            threshold: ThresholdConfig::default(),
            reset: Reset::default(),
            step_order: StepOrder::default(),
            surrogate: Surrogate::default(),
        }
    }
}

impl NeuronKind for PlifConfig {
    const NAME: &'static str = "plif";
    const ABOUT: &'static str = "parametric LIF: the leak of each layer is trained; no kernel";
    const SOURCE: &'static str = "Fang et al. 2021, without their factor of the current";

    type Neurons<B: Backend> = Plif<B>;

    fn trained(&self) -> TrainedParams {
        TrainedParams { threshold: self.threshold.train, leak: true, initial_membrane: false }
    }

    fn options(&self) -> NeuronOptions {
        let Self { reset, step_order, surrogate, .. } = *self;
        NeuronOptions { reset, step_order, surrogate }
    }

    fn check(&self) -> Result<(), NeuronError> {
        // `w` is infinite for a leak of 0 or 1 in single precision.
        let leak = self.leak as f32;
        if !(leak > 0.0 && leak < 1.0) {
            let expected = "above 0 and below 1";
            return Err(NeuronError { key: "leak", found: self.leak, expected });
        }
        check_surrogate(self.options())
    }

    fn sharing(&self) -> Sharing {
        Sharing { threshold: self.threshold.per, initial_membrane: None }
    }

    fn init<B: Backend>(
        &self,
        threshold: f32,
        [channels, ..]: [usize; 3],
        device: &B::Device,
    ) -> Plif<B> {
        let thresholds = match self.threshold.per {
            ThresholdPer::Layer => 1,
            ThresholdPer::Channel => channels,
        };
        let logit = (self.leak / (1.0 - self.leak)).ln();
        Plif {
            threshold: param::<B>(vec![threshold; thresholds], device)
                .set_require_grad(self.threshold.train),
            leak_logit: param::<B>(vec![logit as f32], device).set_require_grad(true),
            options: self.options(),
        }
    }
}

/// A layer of parametric leaky integrate-and-fire neurons.
#[derive(Module, Debug)]
pub struct Plif<B: Backend> {
    /// The threshold `v`, above 0: `[1]`, or `[channels]` for a threshold of each channel.
    pub threshold: Param<Tensor<B, 1>>,
    /// The parameter `w` of the leak, `[1]`.
    pub leak_logit: Param<Tensor<B, 1>>,
    /// Reset, step order and surrogate; they are not part of the module's state.
    #[module(skip)]
    pub options: NeuronOptions,
}

impl<B: Backend> Plif<B> {
    /// The leak `λ`, `[1]`.
    pub fn leak(&self) -> Tensor<B, 1> {
        sigmoid(self.leak_logit.val())
    }

    /// The parameters of a LIF neuron for the neurons of one time step.
    fn params<const D: usize>(&self, step_shape: [usize; D]) -> ScanParams<Tensor<B, 1>> {
        let threshold = self.threshold.val();
        let membrane = Tensor::zeros([1], (&threshold.device(), threshold.dtype()));
        let threshold = of_channels(threshold, step_shape);
        ScanParams { membrane, threshold, leak: self.leak() }
    }
}

impl<B: Backend> NeuronModel<B> for Plif<B> {
    fn options(&self) -> NeuronOptions {
        self.options
    }

    fn forward<const D: usize>(&self, currents: Tensor<B, D>, time_steps: usize) -> Tensor<B, D>
    where
        B: SpikingBackend,
    {
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let params = self.params(of_step(shape, time_steps));
        reference::differentiable_scan(currents, params, self.options).reshape(shape)
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
        let mut params = self.params(step_shape);
        if let Some(membrane) = membrane {
            params.membrane = of_state(membrane, step_shape);
        }
        let (spikes, membrane) = reference::advance(currents, params, self.options);
        (spikes.reshape(shape), membrane.reshape(step_shape))
    }

    fn membranes<const D: usize>(&self, currents: Tensor<B, D>, time_steps: usize) -> Tensor<B, D> {
        let shape = currents.dims();
        let currents = by_step(currents, time_steps);
        let params = self.params(of_step(shape, time_steps));
        reference::membranes(currents, params, self.options).reshape(shape)
    }

    fn thresholds(&self) -> Vec<f32> {
        numbers(&self.threshold)
    }

    fn constrained(mut self) -> Self {
        self.threshold = constrained_threshold(self.threshold);
        self
    }

    fn with_thresholds(mut self, thresholds: &[f32]) -> Self {
        self.threshold = replaced(&self.threshold, thresholds);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_of_0_or_1_is_refused() {
        let check = |leak: f64| PlifConfig { leak, ..Default::default() }.check();
        assert_eq!(check(0.25), Ok(()));
        for leak in [0.0, 1.0, -0.5, 1.0 - 1e-12, f64::NAN] {
            let error = check(leak).unwrap_err().to_string();
            assert!(error.ends_with("expected above 0 and below 1"), "{error}");
        }
    }

    #[test]
    fn the_leak_before_training_is_that_of_the_recipe() {
        for leak in [0.01, 0.5, 0.875, 0.999] {
            let config = PlifConfig { leak, ..Default::default() };
            let neurons = config.init::<burn_flex::Flex>(1.0, [2, 3, 3], &Default::default());
            let found = neurons.leak().into_scalar();
            assert!((f64::from(found) - leak).abs() < 1e-6, "{found}, expected {leak}");
        }
    }
}
