//! The fused pass: a whole network over all its time steps as one operation of the backend.
//!
//! Every function returns `None` if the backend has no kernels for it
//! ([`SpikingBackend::on_host`]). The caller then runs the network layer by layer.

use std::sync::Arc;

use burn::module::Param;
use burn::nn::{Linear, conv::Conv2d};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive, backend::Backend};
use lasnn_core::{Pass, Plan, Probe, Probes, Tap};
use lasnn_neurons::network::{self, has_backward};
use lasnn_neurons::{
    FusedNeurons, NetworkInput, NetworkPass, NetworkProbes, NeuronModel, SpikingBackend,
    mean_current,
};
use lasnn_nn::{Observations, attention_map};
use lasnn_spiking_kernels::{Membranes, Outcome, PackedWeights, SpikeStats, WeightFormat};

use crate::config::SpikingConfig;
use crate::layers::{SpikingLayer, conv2d, linear};
use crate::lower::{DropoutMask, Lowered, ParamSource};
use crate::network::SpikingNetwork;
use crate::signal::Signal;

/// Why a network runs layer by layer, which is slower, and not in one fused pass. `None` if the
/// kernels cover it; then a backend that has them runs it fused. Builds no network.
pub fn layer_by_layer_because(plan: &Plan, config: &SpikingConfig) -> Option<String> {
    Lowered::new(plan, config).err()
}

/// Why a network without batch norms is trained layer by layer. `None` if the kernels cover its
/// training; then a backend that has them trains it fused. Builds no network.
pub fn trained_layer_by_layer_because(plan: &Plan, config: &SpikingConfig) -> Option<String> {
    let without_backward = || {
        let options = config.neuron.options();
        let kind = options.surrogate.kind();
        (!has_backward(options)).then(|| format!("no kernel for the surrogate `{kind}`"))
    };
    layer_by_layer_because(plan, config).or_else(without_backward)
}

impl Lowered {
    /// Runs all time steps. The kernels compute the spike counts or, for attention maps (Eq. 5-6),
    /// the sums of their squares over the channels, so that no tensor of firing rates is made.
    pub fn observe<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        images: &Tensor<B, 4>,
        pass: &Pass<'_>,
        packed_weights: Option<&Arc<PackedWeights>>,
        probes: &Probes,
    ) -> Option<Observations<B>> {
        B::on_host(&[], |_| ())?;
        let neurons = network.neurons();
        let is_trainable = neurons.iter().all(|(_, neurons)| has_backward(neurons.options()));
        if B::ad_enabled(&images.device()) && !is_trainable {
            return None;
        }
        let steps = network.time_steps();
        let wanted = self.probes(probes);
        let input = network.encode(images.clone(), 0, steps, pass);
        let mut pass = self.pass(network, input, pass, steps, wanted.clone())?;
        pass.packed_weights = packed_weights.cloned();
        let mut results = B::network(pass)?.into_iter().map(TensorPrimitive::Float);
        let membranes: Tensor<B, 2> = Tensor::from_primitive(results.next()?);
        let mut observations = Observations::new(mean_current(membranes, steps));
        if wanted.by_step {
            observations.logits_by_step = Some(Tensor::from_primitive(results.next()?));
        }
        let steps = steps as f64;
        let layers = wanted.stats.iter().enumerate();
        for (layer, &stats) in layers.filter(|(_, stats)| **stats != SpikeStats::Nothing) {
            let found: Tensor<B, 4> = Tensor::from_primitive(results.next()?);
            let taps = self.taps.iter().filter(|&&(_, at)| at == layer).map(|&(tap, _)| tap);
            if stats == SpikeStats::Squares {
                let channels = self.graph.layers[layer].shape.channels as f64;
                let map = found / (channels * steps * steps);
                taps.for_each(|tap| drop(observations.attention.insert(tap, map.clone())));
                continue;
            }
            for tap in taps {
                let rates = found.clone() / steps;
                if probes.contains(Probe::Attention(tap)) {
                    observations.attention.insert(tap, attention_map(rates.clone()));
                }
                if probes.contains(Probe::Features(tap)) {
                    observations.features.insert(tap, rates);
                }
            }
            if probes.contains(Probe::SpikeCounts) {
                observations.spike_counts.push(found);
            }
        }
        let taps = |layer: usize, probe: fn(Tap) -> Probe| {
            let at = self.taps.iter().filter(move |&&(_, at)| at == layer).map(|&(tap, _)| tap);
            at.filter(move |&tap| probes.contains(probe(tap)))
        };
        for &(layer, _) in &wanted.activation_maps {
            let map: Tensor<B, 4> = Tensor::from_primitive(results.next()?);
            for tap in taps(layer, Probe::ActivationMap) {
                observations.activation_maps.insert(tap, map.clone());
            }
        }
        for &layer in &wanted.membranes {
            let membranes: Tensor<B, 5> = Tensor::from_primitive(results.next()?);
            for tap in taps(layer, Probe::Membranes) {
                observations.membranes.insert(tap, membranes.clone());
            }
        }
        Some(observations)
    }

    /// What the kernels compute for a set of probes.
    fn probes(&self, probes: &Probes) -> NetworkProbes {
        let layers = self.graph.layers.len();
        let everywhere = match probes.contains(Probe::SpikeCounts) {
            true => SpikeStats::Counts,
            false => SpikeStats::Nothing,
        };
        let mut found = NetworkProbes {
            by_step: probes.contains(Probe::LogitsByStep),
            stats: vec![everywhere; layers],
            activation_maps: Vec::new(),
            membranes: Vec::new(),
        };
        for &(tap, layer) in &self.taps {
            let stats = &mut found.stats[layer];
            if probes.contains(Probe::Features(tap)) {
                *stats = SpikeStats::Counts;
            } else if probes.contains(Probe::Attention(tap)) && *stats == SpikeStats::Nothing {
                *stats = SpikeStats::Squares;
            }
            let is_new = found.activation_maps.iter().all(|&(other, _)| other != layer);
            if probes.contains(Probe::ActivationMap(tap)) && is_new {
                found.activation_maps.push((layer, probes.trace));
            }
            if probes.contains(Probe::Membranes(tap)) && !found.membranes.contains(&layer) {
                found.membranes.push(layer);
            }
        }
        found
    }

    /// Runs `steps` time steps of encoded `input`, starting from `membranes` (`None`: from rest),
    /// and leaves the new membrane potentials there. Returns `stats` of the spikes of every layer.
    pub fn advance<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        input: Signal<B>,
        pass: &Pass<'_>,
        (steps, stats): (usize, SpikeStats),
        packed_weights: Option<&Arc<PackedWeights>>,
        membranes: &mut Option<Membranes>,
    ) -> Option<Outcome> {
        let stats = vec![stats; self.graph.layers.len()];
        let probes = NetworkProbes { stats, ..Default::default() };
        let mut pass = self.pass(network, input, pass, steps, probes)?;
        pass.packed_weights = packed_weights.cloned();
        network::advance(&pass, membranes)
    }

    /// Packs the weights of a network for the kernels.
    pub fn prepare<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        format: WeightFormat,
    ) -> Option<PackedWeights> {
        B::on_host(&[], |_| ())?;
        network::prepare::<B>(&self.graph, &self.params(network, &neurons(network)?)?, format)
    }

    /// The parameters that the graph names, in its order.
    fn params<B: Backend>(
        &self,
        network: &SpikingNetwork<B>,
        neurons: &[FusedNeurons<B>],
    ) -> Option<Vec<FloatTensor<B>>> {
        let synapses = synapses(network);
        let primitive = |tensor: &Tensor<B, 1>| tensor.clone().into_primitive().tensor();
        let param = |source: &ParamSource| {
            Some(match source {
                ParamSource::Weight(number) => {
                    let weight = synapses.get(*number)?.weight.clone();
                    // Without a stem, the first weights see the input.
                    let is_doubled = self.signed && *number == 0;
                    if is_doubled { weight.doubled() } else { weight }.into_primitive()
                }
                ParamSource::Bias(numbers) => {
                    let biases = numbers.iter().map(|&number| synapses.get(number)?.bias.clone());
                    let biases: Vec<Tensor<B, 1>> = biases.collect::<Option<_>>()?;
                    let sum = biases.into_iter().reduce(|sum, bias| sum + bias)?;
                    sum.into_primitive().tensor()
                }
                ParamSource::Threshold(layer) => primitive(&neurons.get(*layer)?.threshold),
                ParamSource::Leak(layer) => primitive(&neurons.get(*layer)?.leak),
                ParamSource::InitialMembrane(layer) => {
                    primitive(neurons.get(*layer)?.initial_membrane.as_ref()?)
                }
            })
        };
        self.params.iter().map(param).collect()
    }

    /// The arguments of the fused operation.
    fn pass<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        input: Signal<B>,
        pass: &Pass<'_>,
        steps: usize,
        probes: NetworkProbes,
    ) -> Option<NetworkPass<B>> {
        B::on_host(&[], |_| ())?;
        let rows = input.maps.dims()[0];
        let batch = if input.constant { rows } else { rows / steps };
        let neurons = neurons(network)?;
        let params = self.params(network, &neurons)?;
        let input = match self.stem {
            0 if self.signed => {
                let spikes = Tensor::cat(vec![input.maps.clone(), -input.maps], 1);
                NetworkInput::Spikes(spikes.into_primitive().tensor())
            }
            0 => NetworkInput::Spikes(input.maps.into_primitive().tensor()),
            _ => {
                let currents = self.stem(network, input, pass)?;
                NetworkInput::Currents(currents.into_primitive().tensor())
            }
        };
        let masks = self.dropouts.iter().map(|&DropoutMask { layer, probability, shape }| {
            pass.dropout(layer, probability, shape.len())
        });
        Some(NetworkPass {
            graph: self.graph.clone(),
            neurons: neurons.iter().map(|layer| layer.options).collect(),
            trained: vec![false; params.len()].into(),
            params,
            input,
            masks: masks.collect(),
            batch,
            steps,
            probes: Arc::new(probes),
            packed_weights: None,
            precision: pass.precision,
        })
    }

    /// Runs the stem: the currents into the first neurons, `[batch, channels, height, width]`.
    fn stem<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        input: Signal<B>,
        pass: &Pass<'_>,
    ) -> Option<Tensor<B, 4>> {
        let mut signal = input;
        for layer in &network.layers[..self.stem] {
            signal = match layer {
                SpikingLayer::Conv(layer) => signal.map(|maps| conv2d(&layer.conv, maps)),
                SpikingLayer::Linear(layer) => signal.map(|maps| linear(&layer.linear, maps)),
                SpikingLayer::AveragePool(pool) => pool.forward(signal),
                SpikingLayer::Dropout(dropout) => dropout.forward(signal, pass),
                SpikingLayer::Residual(_) | SpikingLayer::Classifier(_) => return None,
            };
        }
        Some(signal.maps)
    }
}

/// The neurons of all layers, if the kernels have their model.
fn neurons<B: Backend>(network: &SpikingNetwork<B>) -> Option<Vec<FusedNeurons<B>>> {
    network.neurons().into_iter().map(|(_, neurons)| neurons.fused()).collect()
}

/// A convolution or a matrix of a network.
struct SynapseParams<B: Backend> {
    weight: Weight<B>,
    bias: Option<Tensor<B, 1>>,
}

#[derive(Clone)]
enum Weight<B: Backend> {
    Conv(Tensor<B, 4>),
    Linear(Tensor<B, 2>),
}

impl<B: Backend> Weight<B> {
    /// The weights for an input whose spikes of -1 have channels of their own.
    fn doubled(self) -> Self {
        match self {
            Self::Conv(w) => Self::Conv(Tensor::cat(vec![w.clone(), -w], 1)),
            Self::Linear(w) => Self::Linear(Tensor::cat(vec![w.clone(), -w], 0)),
        }
    }

    fn into_primitive(self) -> FloatTensor<B> {
        match self {
            Self::Conv(weight) => weight.into_primitive().tensor(),
            Self::Linear(weight) => weight.into_primitive().tensor(),
        }
    }
}

/// The convolutions and matrices of a network in the order in which [`Lowered::new`] numbers them.
fn synapses<B: Backend>(network: &SpikingNetwork<B>) -> Vec<SynapseParams<B>> {
    let of_conv = |conv: &Conv2d<B>| SynapseParams {
        weight: Weight::Conv(conv.weight.val()),
        bias: conv.bias.as_ref().map(Param::val),
    };
    let of_linear = |linear: &Linear<B>| SynapseParams {
        weight: Weight::Linear(linear.weight.val()),
        bias: linear.bias.as_ref().map(Param::val),
    };
    let mut synapses = Vec::new();
    for layer in &network.layers {
        match layer {
            SpikingLayer::Conv(layer) => synapses.push(of_conv(&layer.conv)),
            SpikingLayer::Linear(layer) => synapses.push(of_linear(&layer.linear)),
            SpikingLayer::Classifier(readout) => synapses.push(of_linear(&readout.linear)),
            SpikingLayer::Residual(block) => {
                synapses.push(of_conv(&block.first.conv));
                synapses.push(of_conv(&block.second.conv));
                synapses.extend(block.shortcut.as_ref().map(|shortcut| of_conv(&shortcut.conv)));
            }
            SpikingLayer::AveragePool(_) | SpikingLayer::Dropout(_) => {}
        }
    }
    synapses
}
