//! The spiking network.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{ArchitectureError, Pass, Plan, PlannedLayer, Probe, Probes};
use lasnn_neurons::{NeuronConfig, NeuronModel, SpikingBackend, SpikingNeurons, mean_current};
use lasnn_nn::{Constrained, Observable, Observations};
use lasnn_spiking_kernels::PackedWeights;

use crate::config::SpikingConfig;
use crate::error::SnnError;
use crate::fan_out::fan_outs;
use crate::layers::{SpikingLayer, linear};
use crate::lower::Lowered;
use crate::runner::{FromRest, NeuronRunner, sum_over_time};
use crate::signal::Signal;
use crate::walk::Walk;

/// A spiking network.
///
/// It is built from the same description as an ordinary network and keeps no state between calls:
/// a pass from rest discards its membrane potentials, a streaming pass returns them.
#[derive(Module, Debug)]
pub struct SpikingNetwork<B: Backend> {
    /// The layers; the last one is the readout.
    pub layers: Vec<SpikingLayer<B>>,
    #[module(skip)]
    meta: Meta,
}

/// Everything of a spiking network but its tensors.
#[derive(Clone, Debug)]
struct Meta {
    plan: Plan,
    config: SpikingConfig,
    time_steps: usize,
    /// The graph for the fused pass, or why the kernels do not cover the network.
    lowered: Result<Arc<Lowered>, String>,
}

impl<B: Backend> SpikingNetwork<B> {
    /// Builds a network with zero weights and thresholds of 1.
    ///
    /// Load weights with [`lasnn_nn::state::load`], or convert an ordinary network.
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
            SpikingLayer::new(index, planned, &config.neuron, device).ok_or_else(|| {
                let reason = planned.layer.not_spiking_because().unwrap_or("it has no neurons");
                let (network, kind) = (plan.name.clone(), planned.layer.kind());
                ArchitectureError::NotSpiking { network, index, kind, reason }
            })
        };
        let layers = plan.layers.iter().enumerate().map(build).collect::<Result<_, _>>()?;
        let lowered = Lowered::new(plan, config).map(Arc::new);
        let meta = Meta { plan: plan.clone(), config: config.clone(), time_steps, lowered };
        Ok(Self { layers, meta })
    }

    /// Sets the number of time steps; 0 counts as 1.
    pub fn with_time_steps(mut self, time_steps: usize) -> Self {
        self.meta.time_steps = time_steps.max(1);
        self
    }

    /// The number of time steps that [`Observable::observe`] runs.
    pub fn time_steps(&self) -> usize {
        self.meta.time_steps
    }

    /// The description with the shapes of all layers.
    pub fn plan(&self) -> &Plan {
        &self.meta.plan
    }

    /// Neurons and input encoding.
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

    /// Replaces the neurons by those that `config` describes: `thresholds` has one threshold for
    /// each layer of neurons, in the order of [`Self::neurons`], or one for each of its channels if
    /// the configuration has a threshold of each channel.
    pub fn with_neurons<T: AsRef<[f32]>>(
        mut self,
        config: &NeuronConfig,
        thresholds: &[T],
        device: &B::Device,
    ) -> Self {
        let shapes = fan_outs(&self.meta.plan).1.into_iter().map(|fan_out| fan_out.shape);
        let all = self.layers.iter_mut().flat_map(SpikingLayer::neurons_mut);
        for ((neurons, thresholds), shape) in all.zip(thresholds).zip(shapes) {
            let shape = [shape.channels, shape.height, shape.width];
            *neurons = config.init_channels(thresholds.as_ref(), shape, device);
        }
        self
    }

    /// Replaces layer `neuron_layer` of [`Self::neurons`] by what `change` makes of it.
    pub fn map_neurons(
        mut self,
        neuron_layer: usize,
        change: impl FnOnce(SpikingNeurons<B>) -> SpikingNeurons<B>,
    ) -> Self {
        let mut all = self.layers.iter_mut().flat_map(SpikingLayer::neurons_mut);
        if let Some(neurons) = all.nth(neuron_layer) {
            *neurons = change(neurons.clone());
        }
        drop(all);
        self
    }

    /// Turns the fused pass off, so that the network runs layer by layer on every backend. Tests
    /// compare the fused pass with this one.
    pub fn layer_by_layer(mut self) -> Self {
        self.meta.lowered = Err("the fused pass is turned off".into());
        self
    }

    /// Why the network cannot run in one fused pass but runs layer by layer, which is slower.
    /// `None` if it can, on a backend that has kernels for it.
    pub fn layer_by_layer_because(&self) -> Option<&str> {
        self.meta.lowered.as_ref().err().map(String::as_str)
    }

    /// The graph for the fused pass, if the kernels cover the network.
    pub(crate) fn lowered(&self) -> Option<&Lowered> {
        self.meta.lowered.as_deref().ok()
    }
}

impl<B: SpikingBackend> SpikingNetwork<B> {
    /// Encodes `images` for `steps` time steps, starting at step `first_step` (counted from 0).
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    pub fn encode(
        &self,
        images: Tensor<B, 4>,
        first_step: usize,
        steps: usize,
        pass: &Pass<'_>,
    ) -> Signal<B> {
        let encoding = self.meta.config.encoding;
        match encoding.values().is_constant() {
            true => Signal { maps: images, constant: true },
            false => Signal::changing(encoding.encode(images, first_step as u32, steps, pass)),
        }
    }

    /// Runs all layers before the readout, layer by layer. Returns the input of the readout, or
    /// `None` if the runner stopped the pass.
    pub fn flow<R: NeuronRunner<B>>(
        &self,
        input: Signal<B>,
        pass: &Pass<'_>,
        runner: &mut R,
    ) -> Option<Signal<B>> {
        let mut walk = Walk::new(runner);
        let mut signal = input;
        for (layer, planned) in self.layers.iter().zip(&self.meta.plan.layers) {
            signal = match layer {
                SpikingLayer::Conv(layer) => walk.conv(layer, signal, pass.mode)?,
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

    /// Multiplies the input of the readout, `[rows, channels, height, width]`, by the readout's
    /// weights: the currents `[rows, classes]` into its neurons.
    pub fn read_out(&self, maps: Tensor<B, 4>) -> Tensor<B, 2> {
        match self.layers.last() {
            Some(SpikingLayer::Classifier(readout)) => linear(&readout.linear, maps).flatten(1, 3),
            // Not reached: the last layer of a plan is its classifier.
            _ => maps.flatten(1, 3),
        }
    }

    /// Runs all time steps from rest: fused where the backend can, else layer by layer.
    ///
    /// `packed_weights` are the network's weights, packed for the kernels.
    pub(crate) fn run(
        &self,
        images: Tensor<B, 4>,
        pass: &Pass<'_>,
        packed_weights: Option<&Arc<PackedWeights>>,
        probes: &Probes,
    ) -> Observations<B> {
        let fused = self
            .lowered()
            .and_then(|lowered| lowered.observe(self, &images, pass, packed_weights, probes));
        fused.unwrap_or_else(|| self.run_by_layer(images, pass, probes))
    }

    fn run_by_layer(
        &self,
        images: Tensor<B, 4>,
        pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<B> {
        let steps = self.meta.time_steps;
        let mut runner = FromRest::new(steps, probes);
        let input = self.encode(images, 0, steps, pass);
        let reached = match self.flow(input, pass, &mut runner) {
            Some(signal) => signal.unfold(steps),
            None => unreachable!("a runner from rest does not stop"),
        };
        let logits_by_step = probes.contains(Probe::LogitsByStep).then(|| {
            let currents = self.read_out(reached.clone());
            let [rows, classes] = currents.dims();
            currents.reshape([steps, rows / steps, classes])
        });
        // The readout neither leaks nor fires (Eq. 3), so its input may be summed over time before
        // its weights: one matrix product in place of one for each step. The logits have the same
        // bits with and without those of each step.
        let mut membranes = self.read_out(sum_over_time(reached, steps));
        if let Some(SpikingLayer::Classifier(readout)) = self.layers.last()
            && let Some(bias) = &readout.linear.bias
        {
            // The bias has been added for one time step so far.
            membranes = membranes + bias.val().unsqueeze() * (steps as f64 - 1.0);
        }
        let logits = mean_current(membranes, steps);
        Observations { logits_by_step, ..runner.observations(logits) }
    }
}

impl<B: Backend> Constrained for SpikingNetwork<B> {
    fn constrained(mut self) -> Self {
        for neurons in self.layers.iter_mut().flat_map(SpikingLayer::neurons_mut) {
            *neurons = neurons.clone().constrained();
        }
        self
    }
}

impl<B: SpikingBackend> Observable<B> for SpikingNetwork<B> {
    /// Runs all time steps from rest. The feature maps at the taps are firing rates.
    ///
    /// The network is one operation of the backend if the backend has kernels for it. Otherwise it
    /// runs layer by layer.
    fn observe(&self, images: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B> {
        self.run(images, pass, None, probes)
    }
}
