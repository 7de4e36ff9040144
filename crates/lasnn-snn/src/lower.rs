//! Lowering: from a plan to the graph that the kernels run.
//!
//! The graph has layers of neurons and the projections between them. Pooling and dropout are not
//! layers there but properties of a projection ([`PoolAndMask`]).

use std::ops::RangeInclusive;
use std::sync::Arc;

use lasnn_core::{Layer, Plan, PlannedLayer, Shape, Tap};
use lasnn_spiking_kernels::{
    Graph, NeuronLayer, NeuronParams, ParamIndex, PoolAndMask, Presynaptic, Projection, Synapse,
};

use crate::config::SpikingConfig;

/// The graph of a plan, and what a pass has to compute outside of it.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub graph: Arc<Graph>,
    /// The number of layers that are computed outside of the graph, once for all time steps. Under
    /// direct encoding these are the layers up to the currents of the first neurons, since they see
    /// the same image at every step; 0 if the input is spikes.
    pub stem: usize,
    /// Whether the input may have spikes of -1. They get channels of their own, whose weights are
    /// the negated weights of the first layer.
    pub signed: bool,
    /// The dropout masks in the order in which the graph numbers them.
    pub dropouts: Vec<DropoutMask>,
    /// The layer of neurons at each tap.
    pub taps: Vec<(Tap, usize)>,
    /// Where the parameters come from, in the order in which the graph numbers them.
    pub params: Vec<ParamSource>,
}

/// Where a parameter of the graph comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParamSource {
    /// The weights of a convolution or a matrix, by its number among all of the network.
    Weight(usize),
    /// The sum of the biases of convolutions or matrices with these numbers.
    Bias(Vec<usize>),
    /// The threshold of a layer of neurons.
    Threshold(usize),
    /// The leak of a layer of neurons.
    Leak(usize),
    /// The initial membrane potentials of a layer of neurons.
    InitialMembrane(usize),
}

/// A dropout mask that a pass has to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutMask {
    /// Index of the dropout layer (or residual block) in the network; keys the random draws.
    pub layer: u32,
    pub probability: f64,
    /// The shape of the masked feature map.
    pub shape: Shape,
}

impl Lowered {
    /// Lowers a plan.
    ///
    /// # Errors
    ///
    /// Says why the kernels do not cover it. Such a network runs layer by layer.
    pub fn new(plan: &Plan, config: &SpikingConfig) -> Result<Self, String> {
        if !config.neuron.is_fused() {
            return Err(format!("no kernel for neurons of kind `{}`", config.neuron.name()));
        }
        let values = config.encoding.values();
        if !values.is_constant() && !values.are_spikes() {
            return Err("its input changes over time and is not spikes".into());
        }
        let signed = values.are_signed();
        let mut input = plan.input;
        input.channels *= if signed { 2 } else { 1 };
        // Each sign of the input has channels of its own, so that weights and masks of the input
        // would have to be doubled. This is implemented for one weight only.
        if signed && !enters_by_one_weight(plan) {
            return Err("the first layer is a residual block or dropout, and its input has \
                        spikes of -1"
                .into());
        }
        let mut builder = Builder::new(values.is_constant(), config.neuron.has_initial_membrane());
        for (index, planned) in plan.layers.iter().enumerate() {
            if let Layer::Classifier { bias } = planned.layer {
                let synapse = builder.synapses;
                let readout = builder.projection(|weight| Synapse::Linear { weight });
                let readout_bias = bias.then(|| builder.param(ParamSource::Bias(vec![synapse])));
                let (layers, classes) = (builder.layers, plan.classes);
                let graph = Graph { input, layers, readout, readout_bias, classes };
                graph.check().map_err(|unsupported| unsupported.reason)?;
                if graph.layers.is_empty() {
                    return Err("it has no neurons".into());
                }
                return Ok(Self {
                    graph: Arc::new(graph),
                    stem: builder.stem.unwrap_or(0),
                    signed,
                    dropouts: builder.dropouts,
                    taps: builder.taps,
                    params: builder.params,
                });
            }
            builder.layer(index, planned).map_err(|why| format!("layer {index}: {why}"))?;
        }
        Err("it has no classifier".into())
    }
}

/// Whether the input enters through exactly one weight, and no dropout mask.
fn enters_by_one_weight(plan: &Plan) -> bool {
    let mut layers = plan.layers.iter().map(|planned| &planned.layer);
    let first = layers
        .find(|layer| !matches!(layer, Layer::AveragePool { .. } | Layer::GlobalAveragePool {}));
    !matches!(first, Some(Layer::Residual { .. } | Layer::Dropout { .. }))
}

/// A graph that is being built, layer by layer.
struct Builder {
    layers: Vec<NeuronLayer>,
    /// Where the spikes come from that reach the next layer.
    presynaptic: Presynaptic,
    /// The pooling and the mask that they have passed.
    pooling: PoolAndMask,
    /// The number of layers in the stem (see [`Lowered::stem`]) so far; `None` if the input is
    /// spikes.
    stem: Option<usize>,
    /// The number of convolutions and matrices so far.
    synapses: usize,
    /// Whether the neurons have initial membrane potentials.
    has_initial: bool,
    dropouts: Vec<DropoutMask>,
    taps: Vec<(Tap, usize)>,
    params: Vec<ParamSource>,
}

impl Builder {
    fn new(direct: bool, has_initial: bool) -> Self {
        Self {
            layers: Vec::new(),
            presynaptic: Presynaptic::Input,
            pooling: PoolAndMask::PLAIN,
            stem: direct.then_some(0),
            synapses: 0,
            has_initial,
            dropouts: Vec::new(),
            taps: Vec::new(),
            params: Vec::new(),
        }
    }

    /// Whether the next layer still belongs to the stem.
    fn in_stem(&self) -> bool {
        self.stem.is_some() && self.layers.is_empty()
    }

    /// Numbers a parameter.
    fn param(&mut self, source: ParamSource) -> ParamIndex {
        self.params.push(source);
        self.params.len() - 1
    }

    /// A projection with weights of its own from the current spikes.
    fn projection(&mut self, synapse: impl FnOnce(ParamIndex) -> Synapse) -> Projection {
        let weight = self.param(ParamSource::Weight(self.synapses));
        self.synapses += 1;
        Projection {
            presynaptic: self.presynaptic,
            pooling: self.pooling,
            synapse: synapse(weight),
        }
    }

    /// Adds a layer of neurons, whose spikes are the current ones from now on. Its bias is the sum
    /// of those of the synapses with the numbers `biases`.
    fn push(&mut self, shape: Shape, projections: Vec<Projection>, biases: Vec<usize>) {
        let layer = self.layers.len();
        let params = NeuronParams {
            threshold: self.param(ParamSource::Threshold(layer)),
            leak: self.param(ParamSource::Leak(layer)),
            bias: (!biases.is_empty()).then(|| self.param(ParamSource::Bias(biases))),
            initial_membrane: self
                .has_initial
                .then(|| self.param(ParamSource::InitialMembrane(layer))),
        };
        self.layers.push(NeuronLayer { shape, projections, params });
        self.presynaptic = Presynaptic::NeuronLayer(self.layers.len() - 1);
        self.pooling = PoolAndMask::PLAIN;
    }

    /// Numbers a dropout mask.
    fn mask(&mut self, layer: usize, probability: f64, shape: Shape) -> Option<usize> {
        self.dropouts.push(DropoutMask { layer: layer as u32, probability, shape });
        Some(self.dropouts.len() - 1)
    }

    /// Adds a layer of the plan, or says why the kernels do not cover it.
    fn layer(&mut self, index: usize, planned: &PlannedLayer) -> Result<(), String> {
        let PlannedLayer { ref layer, input, output, .. } = *planned;
        if self.in_stem() {
            self.stem = Some(index + 1);
        }
        match *layer {
            _ if layer.has_batch_norm() => {
                return Err("there is no kernel for its batch norm".into());
            }
            Layer::Conv { .. } | Layer::Linear { .. } if self.in_stem() => {
                // Weights and bias are part of the stem.
                self.synapses += 1;
                self.push(output, vec![], vec![]);
            }
            Layer::Conv { kernel, stride, bias, .. } => {
                let synapse = self.synapses;
                let projection = self.projection(|weight| Synapse::Conv { kernel, stride, weight });
                self.push(output, vec![projection], numbers(bias, synapse..=synapse));
            }
            Layer::Linear { bias, .. } => {
                let synapse = self.synapses;
                let projection = self.projection(|weight| Synapse::Linear { weight });
                self.push(output, vec![projection], numbers(bias, synapse..=synapse));
            }
            Layer::Residual { stride, bias, dropout, .. } => {
                if self.in_stem() {
                    return Err("a residual block sees the image itself".into());
                }
                let (presynaptic, pooling, synapse) =
                    (self.presynaptic, self.pooling, self.synapses);
                let first = self.projection(|weight| Synapse::Conv { kernel: 3, stride, weight });
                self.push(output, vec![first], numbers(bias, synapse..=synapse));
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
                let biases = numbers(bias, synapse + 1..=self.synapses - 1);
                self.push(output, vec![second, shortcut], biases);
            }
            Layer::AveragePool { .. } | Layer::GlobalAveragePool {} | Layer::Dropout { .. }
                if self.in_stem() => {}
            Layer::AveragePool { .. } | Layer::GlobalAveragePool {}
                if self.pooling.mask.is_some() =>
            {
                return Err("pooling follows dropout".into());
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
                    return Err("dropout follows dropout".into());
                }
                self.pooling.mask = self.mask(index, probability, input);
            }
            Layer::Dropout { .. } => {}
            _ => return Err(format!("there is no kernel for a layer of kind `{}`", layer.kind())),
        }
        if let Some(tap) = layer.tap() {
            let before = self.layers.len().checked_sub(1);
            let layer = before.ok_or_else(|| format!("tap `{tap}` is before all neurons"))?;
            self.taps.push((tap, layer));
        }
        Ok(())
    }
}

/// These numbers if a layer has a bias, else none.
fn numbers(bias: bool, synapses: RangeInclusive<usize>) -> Vec<usize> {
    synapses.filter(|_| bias).collect()
}

#[cfg(test)]
mod tests {
    use lasnn_core::Architecture;
    use lasnn_neurons::{Direct, Encoding, Poisson, PoissonRange};

    use super::*;

    fn lowered(layers: Vec<Layer>, encoding: Encoding) -> Result<Lowered, String> {
        let input = Shape { channels: 3, height: 8, width: 8 };
        let plan = Architecture { name: "test".into(), layers }.plan(input, 5).unwrap();
        Lowered::new(&plan, &SpikingConfig { encoding, ..Default::default() })
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
    fn under_direct_encoding_the_first_convolution_is_outside_of_the_graph() {
        let direct = lowered(layers(), Encoding::Direct(Direct {})).unwrap();
        assert_eq!((direct.stem, direct.graph.layers.len()), (1, 3));
        assert!(direct.graph.layers[0].projections.is_empty());
        assert_eq!(direct.graph.layers[1].projections[0].pooling.pool, [2, 2]);
        assert_eq!(direct.dropouts.len(), 1);
        assert_eq!(direct.taps, [(Tap::Low, 0)]);
    }

    #[test]
    fn negative_input_spikes_have_channels_of_their_own() {
        for (range, channels) in [(PoissonRange::Signed, 6), (PoissonRange::Unit, 3)] {
            let poisson = lowered(layers(), Encoding::Poisson(Poisson { range })).unwrap();
            assert_eq!((poisson.stem, poisson.graph.input.channels), (0, channels));
        }
    }

    /// A residual block or a dropout mask at the input would have to be made for twice as many
    /// channels.
    #[test]
    fn signed_spikes_must_enter_by_one_weight() {
        let block = Layer::Residual {
            channels: 8,
            stride: 2,
            bias: false,
            batch_norm: false,
            dropout: 0.0,
            tap: None,
        };
        for first in [block, Layer::Dropout { probability: 0.2 }] {
            let mut layers = layers();
            layers.insert(0, first);
            let poisson = |range| lowered(layers.clone(), Encoding::Poisson(Poisson { range }));
            assert!(poisson(PoissonRange::Signed).unwrap_err().contains("-1"));
            assert!(poisson(PoissonRange::Unit).is_ok());
        }
    }

    #[test]
    fn neurons_without_a_kernel_are_named() {
        let neuron = lasnn_neurons::PlifConfig::default().into();
        let input = Shape { channels: 3, height: 8, width: 8 };
        let plan = Architecture { name: "test".into(), layers: layers() }.plan(input, 5).unwrap();
        let config = SpikingConfig { neuron, ..Default::default() };
        let why = Lowered::new(&plan, &config).unwrap_err();
        assert_eq!(why, "no kernel for neurons of kind `plif`");
    }

    #[test]
    fn a_plan_that_the_kernels_do_not_cover_says_why() {
        let mut dropout_first = layers();
        dropout_first.swap(1, 3);
        dropout_first.insert(1, Layer::Dropout { probability: 0.2 });
        dropout_first.insert(2, Layer::AveragePool { size: 2 });
        let why = lowered(dropout_first, Encoding::Direct(Direct {})).unwrap_err();
        assert_eq!(why, "layer 2: pooling follows dropout");
        let mut twice = layers();
        twice.insert(3, Layer::Dropout { probability: 0.1 });
        let why = lowered(twice, Encoding::Direct(Direct {})).unwrap_err();
        assert_eq!(why, "layer 4: dropout follows dropout");
        let with_norm = Architecture { name: "test".into(), layers: layers() }.with_batch_norm();
        let why = lowered(with_norm.layers, Encoding::Direct(Direct {})).unwrap_err();
        assert_eq!(why, "layer 0: there is no kernel for its batch norm");
        let why = lowered(vec![Layer::Classifier { bias: false }], Encoding::Direct(Direct {}))
            .unwrap_err();
        assert_eq!(why, "it has no neurons");
    }
}
