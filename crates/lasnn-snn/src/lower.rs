//! A spiking network as the kernels see it: what the plan says, without layers that only linear.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorPrimitive, backend::Backend};
use lasnn_core::{Layer, Pass, Plan, PlannedLayer, Shape, Tap};
use lasnn_neurons::network::{self, neurons};
use lasnn_neurons::{Encoding, NetworkInput, NetworkPass, PoissonRange, SpikingBackend};
use lasnn_nn::{Attention, Features};
use lasnn_spiking_kernels::{
    Graph, Membranes, NeuronLayer, Outcome, PackedWeights, PoolAndMask, Presynaptic, Projection,
    SpikeStats, Synapse, WeightFormat,
};

use crate::layers::{SpikingLayer, conv2d, linear};
use crate::network::{Outputs, SpikingNetwork};
use crate::signal::Signal;

/// The graph of a plan, and what the network has to add to it at each args.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    graph: Arc<Graph>,
    /// Layers before the first neurons, their own synapse included, that see the same image at
    /// every step and so are computed once, outside; 0 if the input is spikes.
    stem: usize,
    /// Whether input spikes of -1 are there too: they come as channels of their own, with the
    /// first weights negated.
    signed: bool,
    /// By mask of the graph: layer, probability and shape.
    dropouts: Vec<(u32, f64, Shape)>,
    taps: Vec<(Tap, usize)>,
}

/// Maps of a layer at a tap.
type TapMaps<B> = (Tap, usize, Tensor<B, 4>);

impl Lowered {
    /// The lowered of a plan; `None` for what the kernels do not cover, which runs layer by layer.
    pub fn new(plan: &Plan, encoding: Encoding) -> Option<Self> {
        let signed = matches!(encoding, Encoding::Poisson { range: PoissonRange::Signed });
        let direct = matches!(encoding, Encoding::Direct {});
        let mut input = plan.input;
        input.channels *= if signed { 2 } else { 1 };
        // Each sign of the input has channels of its own, so that weights and masks of the input
        // would have to be doubled. This is implemented for one weight only.
        if signed && !starts_plainly(plan) {
            return None;
        }
        let mut builder = Builder {
            layers: Vec::new(),
            presynaptic: Presynaptic::Input,
            pooling: PoolAndMask::PLAIN,
            stem: direct.then_some(0),
            weights: 0,
            dropouts: Vec::new(),
            taps: Vec::new(),
        };
        for (index, planned) in plan.layers.iter().enumerate() {
            if let Layer::Classifier { .. } = planned.layer {
                let readout = builder.projection(|weight| Synapse::Linear { weight });
                let shape = input;
                let classes = plan.classes;
                let graph = Graph { input: shape, layers: builder.layers, readout, classes };
                graph.check().ok()?;
                return Some(Self {
                    graph: Arc::new(graph),
                    // Without neurons there is nothing to run.
                    stem: if direct { builder.stem.filter(|&stem| stem > 0)? } else { 0 },
                    signed,
                    dropouts: builder.dropouts,
                    taps: builder.taps,
                });
            }
            builder.layer(index, planned)?;
        }
        None
    }

    /// Runs all steps from rest; `None` where the backend has no kernel for it.
    pub fn features<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        images: &Tensor<B, 4>,
        pass: &Pass<'_>,
        packed_weights: Option<&Arc<PackedWeights>>,
        outputs: Outputs,
    ) -> Option<Features<B>> {
        let taps = match outputs {
            Outputs::Logits => &[],
            Outputs::Rates => &self.taps[..],
        };
        let stats = SpikeStats::Counts;
        let (logits, maps) = self.run(network, images, pass, packed_weights, (taps, stats))?;
        let steps = network.time_steps() as f64;
        let rates = maps.into_iter().map(|(tap, _, counts)| (tap, counts / steps));
        Some(Features { logits, taps: rates.collect() })
    }

    /// The same with attention maps of the firing rates, which the kernels add up.
    pub fn attention<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        images: &Tensor<B, 4>,
        pass: &Pass<'_>,
    ) -> Option<Attention<B>> {
        let stats = (&self.taps[..], SpikeStats::Squares);
        let (logits, maps) = self.run(network, images, pass, None, stats)?;
        let steps = network.time_steps() as f64;
        let maps = maps.into_iter().map(|(tap, layer, squares)| {
            let channels = self.graph.layers[layer].shape.channels as f64;
            (tap, squares / (channels * steps * steps))
        });
        Some(Attention { logits, maps: maps.collect() })
    }

    /// Class scores, and what is stats of the layers at some taps.
    fn run<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        images: &Tensor<B, 4>,
        pass: &Pass<'_>,
        packed_weights: Option<&Arc<PackedWeights>>,
        (taps, show): (&[(Tap, usize)], SpikeStats),
    ) -> Option<(Tensor<B, 2>, Vec<TapMaps<B>>)> {
        let steps = network.time_steps();
        let mut layers = taps.to_vec();
        layers.sort_by_key(|&(_, layer)| layer);
        let of = |layer| match layers.iter().any(|&(_, tapped)| tapped == layer) {
            true => show,
            false => SpikeStats::Nothing,
        };
        let stats = (0..self.graph.layers.len()).map(of).collect();
        B::on_host(&[], |_| ())?;
        let input = network.encode(images.clone(), 0, steps, pass);
        let mut pass = self.pass(network, input, pass, steps, stats)?;
        pass.packed_weights = packed_weights.cloned();
        let mut results = B::network(pass)?.into_iter().map(TensorPrimitive::Float);
        let membrane: Tensor<B, 2> = Tensor::from_primitive(results.next()?);
        let maps = layers.into_iter().zip(results);
        let maps = maps.map(|((tap, layer), maps)| (tap, layer, Tensor::from_primitive(maps)));
        Some((network.config().readout.scores(membrane, steps), maps.collect()))
    }

    /// Runs some steps of encoded `input` on from `membranes` and shows the same of all neurons; `None` as
    /// above.
    pub fn advance<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        input: Signal<B>,
        pass: &Pass<'_>,
        (steps, show): (usize, SpikeStats),
        packed_weights: Option<&Arc<PackedWeights>>,
        membranes: &mut Option<Membranes>,
    ) -> Option<Outcome> {
        let stats = vec![show; self.graph.layers.len()].into();
        let mut pass = self.pass(network, input, pass, steps, stats)?;
        pass.packed_weights = packed_weights.cloned();
        network::advance(&pass, membranes)
    }

    /// The weights of a network, packed; `None` as above.
    pub fn prepare<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        format: WeightFormat,
    ) -> Option<PackedWeights> {
        B::on_host(&[], |_| ())?;
        let weights: Vec<_> =
            self.weights(network)?.into_iter().map(Weight::into_primitive).collect();
        network::prepare::<B>(&self.graph, &weights, format)
    }

    /// The weights of the graph.
    fn weights<B: Backend>(&self, network: &SpikingNetwork<B>) -> Option<Vec<Weight<B>>> {
        let mut weights = weights(network);
        if self.stem > 0 {
            // They are in the currents that come from outside.
            weights.remove(0);
        }
        if self.signed {
            let first = weights.first_mut()?;
            *first = match first {
                Weight::Conv(w) => Weight::Conv(Tensor::cat(vec![w.clone(), -w.clone()], 1)),
                Weight::Linear(w) => Weight::Linear(Tensor::cat(vec![w.clone(), -w.clone()], 0)),
            };
        }
        Some(weights)
    }

    fn pass<B: SpikingBackend>(
        &self,
        network: &SpikingNetwork<B>,
        input: Signal<B>,
        pass: &Pass<'_>,
        steps: usize,
        stats: Arc<[SpikeStats]>,
    ) -> Option<NetworkPass<B>> {
        // Reading thresholds would make a GPU wait for nothing.
        B::on_host(&[], |_| ())?;
        let rows = input.maps.dims()[0];
        let batch = if input.constant { rows } else { rows / steps };
        let weights = self.weights(network)?;
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
        let masks = self
            .dropouts
            .iter()
            .map(|&(layer, probability, shape)| pass.dropout(layer, probability, shape.len()));
        let of = |(_, layer): (String, &lasnn_neurons::SpikingNeurons<B>)| {
            let leak = layer.leak.val().into_data().iter::<f32>().next().unwrap_or(1.0);
            neurons(layer.threshold_value(), leak, layer.options)
        };
        Some(NetworkPass {
            graph: self.graph.clone(),
            neurons: network.neurons().into_iter().map(of).collect(),
            weights: weights.into_iter().map(Weight::into_primitive).collect(),
            input,
            masks: masks.collect(),
            batch,
            steps,
            stats,
            packed_weights: None,
            precision: pass.precision,
        })
    }

    /// The currents of the first neurons.
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

/// A weight of a graph.
enum Weight<B: Backend> {
    Conv(Tensor<B, 4>),
    Linear(Tensor<B, 2>),
}

impl<B: Backend> Weight<B> {
    fn into_primitive(self) -> burn::tensor::ops::FloatTensor<B> {
        match self {
            Self::Conv(weight) => weight.into_primitive().tensor(),
            Self::Linear(weight) => weight.into_primitive().tensor(),
        }
    }
}

/// Whether exactly one weight sees the input, and no dropout mask.
fn starts_plainly(plan: &Plan) -> bool {
    let mut layers = plan.layers.iter().map(|planned| &planned.layer);
    let first = layers
        .find(|layer| !matches!(layer, Layer::AveragePool { .. } | Layer::GlobalAveragePool {}));
    !matches!(first, Some(Layer::Residual { .. } | Layer::Dropout { .. }))
}

/// The weights in the order in which [`Builder`] numbers them.
fn weights<B: Backend>(network: &SpikingNetwork<B>) -> Vec<Weight<B>> {
    let mut weights = Vec::new();
    for layer in &network.layers {
        match layer {
            SpikingLayer::Conv(layer) => weights.push(Weight::Conv(layer.conv.weight.val())),
            SpikingLayer::Linear(layer) => weights.push(Weight::Linear(layer.linear.weight.val())),
            SpikingLayer::Classifier(readout) => {
                weights.push(Weight::Linear(readout.linear.weight.val()));
            }
            SpikingLayer::Residual(block) => {
                weights.push(Weight::Conv(block.first.conv.weight.val()));
                weights.push(Weight::Conv(block.second.conv.weight.val()));
                if let Some(shortcut) = &block.shortcut {
                    weights.push(Weight::Conv(shortcut.conv.weight.val()));
                }
            }
            SpikingLayer::AveragePool(_) | SpikingLayer::Dropout(_) => {}
        }
    }
    weights
}

/// A graph that is being built, layer by layer.
struct Builder {
    layers: Vec<NeuronLayer>,
    /// Whose spikes the next layer sees, and how.
    presynaptic: Presynaptic,
    pooling: PoolAndMask,
    /// As long as no neurons have been met under direct encoding: layers so far. Then how many.
    stem: Option<usize>,
    weights: usize,
    dropouts: Vec<(u32, f64, Shape)>,
    taps: Vec<(Tap, usize)>,
}

impl Builder {
    fn in_stem(&self) -> bool {
        self.stem.is_some() && self.layers.is_empty()
    }

    fn projection(&mut self, synapse: impl FnOnce(usize) -> Synapse) -> Projection {
        let weight = self.weights;
        self.weights += 1;
        Projection {
            presynaptic: self.presynaptic,
            pooling: self.pooling,
            synapse: synapse(weight),
        }
    }

    fn push(&mut self, shape: Shape, projections: Vec<Projection>) {
        self.layers.push(NeuronLayer { shape, projections });
        self.presynaptic = Presynaptic::NeuronLayer(self.layers.len() - 1);
        self.pooling = PoolAndMask::PLAIN;
    }

    fn mask(&mut self, layer: usize, probability: f64, shape: Shape) -> Option<usize> {
        self.dropouts.push((layer as u32, probability, shape));
        Some(self.dropouts.len() - 1)
    }

    /// Adds a layer; `None` if the kernels do not cover it.
    fn layer(&mut self, index: usize, planned: &PlannedLayer) -> Option<()> {
        let PlannedLayer { ref layer, input, output, .. } = *planned;
        if self.in_stem() {
            self.stem = Some(index + 1);
        }
        match *layer {
            Layer::Conv { .. } | Layer::Linear { .. } if self.in_stem() => {
                self.push(output, vec![])
            }
            Layer::Conv { kernel, stride, .. } => {
                let projection = self.projection(|weight| Synapse::Conv { kernel, stride, weight });
                self.push(output, vec![projection]);
            }
            Layer::Linear { .. } => {
                let projection = self.projection(|weight| Synapse::Linear { weight });
                self.push(output, vec![projection]);
            }
            Layer::Residual { stride, dropout, .. } => {
                if self.in_stem() {
                    return None;
                }
                let (presynaptic, pooling) = (self.presynaptic, self.pooling);
                let first = self.projection(|weight| Synapse::Conv { kernel: 3, stride, weight });
                self.push(output, vec![first]);
                if dropout > 0.0 {
                    self.pooling.mask = self.mask(index, dropout, output);
                }
                let second =
                    self.projection(|weight| Synapse::Conv { kernel: 3, stride: 1, weight });
                (self.presynaptic, self.pooling) = (presynaptic, pooling);
                let shortcut = match input == output {
                    true => Projection { presynaptic, pooling, synapse: Synapse::Identity },
                    false => self.projection(|weight| Synapse::Conv { kernel: 1, stride, weight }),
                };
                self.push(output, vec![second, shortcut]);
            }
            Layer::AveragePool { .. } | Layer::GlobalAveragePool {} | Layer::Dropout { .. }
                if self.in_stem() => {}
            Layer::AveragePool { .. } | Layer::GlobalAveragePool {}
                if self.pooling.mask.is_some() =>
            {
                return None;
            }
            Layer::AveragePool { size } => {
                self.pooling.pool = self.pooling.pool.map(|by| by * size)
            }
            Layer::GlobalAveragePool {} => {
                let [rows, columns] = self.pooling.pool;
                self.pooling.pool = [rows * input.height, columns * input.width];
            }
            Layer::Dropout { probability } if probability > 0.0 => {
                if self.pooling.mask.is_some() {
                    return None;
                }
                self.pooling.mask = self.mask(index, probability, input);
            }
            Layer::Dropout { .. } => {}
            _ => return None,
        }
        if let Some(tap) = layer.tap() {
            self.taps.push((tap, self.layers.len().checked_sub(1)?));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::Architecture;

    use super::*;

    fn lowered(layers: Vec<Layer>, encoding: Encoding) -> Option<Lowered> {
        let input = Shape { channels: 3, height: 8, width: 8 };
        Lowered::new(
            &Architecture { name: "test".into(), layers }.plan(input, 5).unwrap(),
            encoding,
        )
    }

    fn layers() -> Vec<Layer> {
        vec![
            Layer::conv(8).tapped(Tap::Low),
            Layer::AveragePool { size: 2 },
            Layer::conv(16),
            Layer::Dropout { probability: 0.2 },
            Layer::Linear { features: 32, bias: false },
            Layer::Classifier { bias: false },
        ]
    }

    #[test]
    fn under_direct_encoding_the_first_convolution_is_outside() {
        let direct = lowered(layers(), Encoding::Direct {}).unwrap();
        assert_eq!((direct.stem, direct.graph.layers.len()), (1, 3));
        assert!(direct.graph.layers[0].projections.is_empty());
        assert_eq!(direct.graph.layers[1].projections[0].pooling.pool, [2, 2]);
        assert_eq!(direct.dropouts.len(), 1);
        assert_eq!(direct.taps, [(Tap::Low, 0)]);
    }

    #[test]
    fn negative_input_spikes_have_channels_of_their_own() {
        for (range, channels) in [(PoissonRange::Signed, 6), (PoissonRange::Unit, 3)] {
            let poisson = lowered(layers(), Encoding::Poisson { range }).unwrap();
            assert_eq!((poisson.stem, poisson.graph.input.channels), (0, channels));
        }
    }

    /// A residual block and a dropout mask would see twice as many channels as they have weights or
    /// bits for.
    #[test]
    fn signed_spikes_enter_by_one_weight() {
        let block =
            Layer::Residual { channels: 8, stride: 2, batch_norm: false, dropout: 0.0, tap: None };
        for first in [block, Layer::Dropout { probability: 0.2 }] {
            let mut layers = layers();
            layers.insert(0, first);
            let poisson = |range| lowered(layers.clone(), Encoding::Poisson { range });
            assert!(poisson(PoissonRange::Signed).is_none());
            assert!(poisson(PoissonRange::Unit).is_some());
        }
    }

    #[test]
    fn what_is_not_covered_has_no_wiring() {
        let mut dropout_first = layers();
        dropout_first.swap(1, 3);
        dropout_first.insert(1, Layer::Dropout { probability: 0.2 });
        dropout_first.insert(2, Layer::AveragePool { size: 2 });
        assert!(lowered(dropout_first, Encoding::Direct {}).is_none());
        assert!(lowered(vec![Layer::Classifier { bias: false }], Encoding::Direct {}).is_none());
    }
}
