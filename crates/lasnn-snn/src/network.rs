//! The spiking network.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{ArchitectureError, Pass, Plan, PlannedLayer};
use lasnn_neurons::{Encoder, NeuronConfig, SpikingBackend, SpikingNeurons};
use lasnn_nn::{Attention, Features, Tapped};
use lasnn_spiking_kernels::PackedWeights;

use crate::config::SpikingConfig;
use crate::error::SnnError;
use crate::layers::{SpikingLayer, Walk, linear};
use crate::lower::Lowered;
use crate::runner::{FromRest, NeuronRunner, sum_over_time};
use crate::signal::Signal;

/// A spiking network built from the same description as the ordinary one it is converted from.
///
/// Between calls it keeps nothing: a pass from rest ends with its spikes, a streaming pass hands
/// its membranes back.
#[derive(Module, Debug)]
pub struct SpikingNetwork<B: Backend> {
    /// The layers; the last one is the readout.
    pub layers: Vec<SpikingLayer<B>>,
    #[module(skip)]
    meta: Meta,
}

/// What a pass is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outputs {
    /// Class scores.
    Logits,
    /// Class scores and firing rates at the taps.
    Rates,
}

/// What a spiking network is beside its tensors.
#[derive(Clone, Debug)]
struct Meta {
    plan: Plan,
    config: SpikingConfig,
    time_steps: usize,
    /// How the kernels run it as a whole, if they do.
    lowered: Option<Arc<Lowered>>,
}

impl<B: Backend> SpikingNetwork<B> {
    /// Builds a network of zero weights and thresholds of 1, to be loaded or converted into.
    ///
    /// # Errors
    ///
    /// Names the first layer that cannot be made spiking, or the number that is out of range.
    pub fn new(
        plan: &Plan,
        config: &SpikingConfig,
        time_steps: usize,
        device: &B::Device,
    ) -> Result<Self, SnnError> {
        config.check()?;
        if time_steps == 0 {
            let (key, expected) = ("time_steps", "at least 1");
            return Err(SnnError::Value { key, found: "0".into(), expected });
        }
        let build = |(index, planned): (usize, &PlannedLayer)| {
            SpikingLayer::new(index, planned, &config.neurons(), device).ok_or_else(|| {
                let reason = planned.layer.not_spiking_because().unwrap_or("it has no neurons");
                let (network, kind) = (plan.name.clone(), planned.layer.kind());
                ArchitectureError::NotSpiking { network, index, kind, reason }
            })
        };
        let layers = plan.layers.iter().enumerate().map(build).collect::<Result<_, _>>()?;
        let lowered = Lowered::new(plan, config.encoding).map(Arc::new);
        let meta = Meta { plan: plan.clone(), config: config.clone(), time_steps, lowered };
        Ok(Self { layers, meta })
    }

    /// The same network over another number of time steps, at least 1.
    pub fn with_time_steps(mut self, time_steps: usize) -> Self {
        self.meta.time_steps = time_steps.max(1);
        self
    }

    /// Over how many time steps [`Tapped::features`] runs.
    pub fn time_steps(&self) -> usize {
        self.meta.time_steps
    }

    /// The description with its shapes.
    pub fn plan(&self) -> &Plan {
        &self.meta.plan
    }

    /// Everything about the network but its layers.
    pub fn config(&self) -> &SpikingConfig {
        &self.meta.config
    }

    /// The layers of neurons from the image to the classes, by names such as `layers.0` and, in a
    /// residual block, `layers.3.first` and `layers.3.second`.
    pub fn neurons(&self) -> Vec<(String, &SpikingNeurons<B>)> {
        let mut all = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (part, neurons) in layer.neurons() {
                let name = match part {
                    Some(part) => format!("layers.{index}.{part}"),
                    None => format!("layers.{index}"),
                };
                all.push((name, neurons));
            }
        }
        all
    }

    /// The same network with other neurons: one threshold per layer in the order of
    /// [`Self::neurons`], and one leak for all.
    pub fn with_neurons(mut self, leak: f64, thresholds: &[f32], device: &B::Device) -> Self {
        let config = NeuronConfig { leak, ..self.meta.config.neurons() };
        let all = self.layers.iter_mut().flat_map(SpikingLayer::neurons_mut);
        for (neurons, &threshold) in all.zip(thresholds) {
            *neurons = SpikingNeurons::new(&config, threshold, device);
        }
        self
    }

    /// Multiplies the weights of a residual block's second convolution by `factor` if the `neuron_layer`-th
    /// layer of neurons is the block's first one; else nothing changes.
    pub fn absorb_inner_threshold(mut self, neuron_layer: usize, factor: f32) -> Self {
        let mut before = 0;
        for layer in &mut self.layers {
            match layer {
                SpikingLayer::Residual(block) if before == neuron_layer => {
                    let conv = &mut block.second.conv;
                    conv.weight = conv.weight.clone().map(|weight| weight * factor);
                }
                _ => {}
            }
            before += layer.neurons().len();
        }
        self
    }

    /// How the kernels run it as a whole, if they do.
    pub(crate) fn lowered(&self) -> Option<&Lowered> {
        self.meta.lowered.as_deref()
    }

    /// The same network run layer by layer on every backend: what the kernels that run it as a
    /// whole are compared with.
    pub fn layer_by_layer(mut self) -> Self {
        self.meta.lowered = None;
        self
    }
}

impl<B: SpikingBackend> SpikingNetwork<B> {
    /// Class scores `[rows, classes]` of what reaches the readout at each step, one row per step
    /// and image.
    pub fn read_out(&self, maps: Tensor<B, 4>) -> Tensor<B, 2> {
        match self.layers.last() {
            Some(SpikingLayer::Classifier(readout)) => linear(&readout.linear, maps).flatten(1, 3),
            // A plan always ends with its classifier.
            _ => maps.flatten(1, 3),
        }
    }

    /// The encoded input of `steps` time steps from `first_step` on.
    pub fn encode(
        &self,
        images: Tensor<B, 4>,
        first_step: usize,
        steps: usize,
        pass: &Pass<'_>,
    ) -> Signal<B> {
        let encoding = self.meta.config.encoding;
        match encoding.is_constant() {
            true => Signal { maps: images, constant: true },
            false => Signal::changing(encoding.encode(images, first_step as u32, steps, pass)),
        }
    }

    /// Lets a signal flow to the readout; `None` if the runner stopped it on the way.
    pub fn flow<D: NeuronRunner<B>>(
        &self,
        input: Signal<B>,
        pass: &Pass<'_>,
        runner: &mut D,
    ) -> Option<Signal<B>> {
        let mut walk = Walk { runner, neuron_layer: 0 };
        let mut signal = input;
        for (layer, planned) in self.layers.iter().zip(&self.meta.plan.layers) {
            signal = match layer {
                SpikingLayer::Conv(layer) => walk.conv(layer, signal)?,
                SpikingLayer::Linear(layer) => walk.linear(layer, signal)?,
                SpikingLayer::Residual(block) => walk.residual(block, signal, pass)?,
                SpikingLayer::AveragePool(pool) => pool.forward(signal),
                SpikingLayer::Dropout(dropout) => dropout.forward(signal, pass),
                SpikingLayer::Classifier(_) => break,
            };
            if let Some(tap) = planned.layer.tap() {
                walk.runner.tap(tap, &signal.maps);
            }
        }
        Some(signal)
    }
}

impl<B: SpikingBackend> SpikingNetwork<B> {
    /// Runs all time steps from rest; `packed_weights` are its weights, packed. Taps that `outputs` does not
    /// ask for may be missing.
    ///
    /// The readout neither leaks nor fires (Eq. 3), so the sum over time is taken before its
    /// weights: one matrix product instead of one per step.
    pub(crate) fn run(
        &self,
        images: Tensor<B, 4>,
        pass: &Pass<'_>,
        packed_weights: Option<&Arc<PackedWeights>>,
        outputs: Outputs,
    ) -> Features<B> {
        let whole =
            self.lowered().and_then(|w| w.features(self, &images, pass, packed_weights, outputs));
        if let Some(features) = whole {
            return features;
        }
        let steps = self.meta.time_steps;
        let mut runner = FromRest::new(steps);
        let input = self.encode(images, 0, steps, pass);
        let reached = match self.flow(input, pass, &mut runner) {
            Some(signal) => signal.unfold(steps),
            None => unreachable!("a runner from rest does not stop"),
        };
        let membrane = self.read_out(sum_over_time(reached, steps));
        let logits = self.meta.config.readout.scores(membrane, steps);
        Features { logits, taps: runner.taps }
    }
}

impl<B: SpikingBackend> Tapped<B> for SpikingNetwork<B> {
    /// Runs all time steps from rest, as one operation where the backend can, else layer by layer.
    fn features(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Features<B> {
        self.run(images, pass, None, Outputs::Rates)
    }

    /// The maps come out of that operation where there is one.
    fn attention(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Attention<B> {
        let whole = self.lowered().and_then(|lowered| lowered.attention(self, &images, pass));
        whole.unwrap_or_else(|| self.features(images, pass).into())
    }

    fn logits(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Tensor<B, 2> {
        self.run(images, pass, None, Outputs::Logits).logits
    }
}
