//! Lowering: from a plan to the graph that the kernels run.
//!
//! The graph has layers of neurons and the projections between them. Pooling and dropout are not
//! layers there but properties of a projection ([`PoolAndMask`]).

use std::sync::Arc;

use lasnn_core::{Layer, Plan, PlannedLayer, Shape, Tap};
use lasnn_neurons::{Encoding, PoissonRange};
use lasnn_spiking_kernels::{Graph, NeuronLayer, PoolAndMask, Presynaptic, Projection, Synapse};

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
    /// Lowers a plan; `None` if the kernels do not cover it. Such a network runs layer by layer.
    pub fn new(plan: &Plan, encoding: Encoding) -> Option<Self> {
        let signed = matches!(encoding, Encoding::Poisson { range: PoissonRange::Signed });
        let direct = matches!(encoding, Encoding::Direct {});
        let mut input = plan.input;
        input.channels *= if signed { 2 } else { 1 };
        // Each sign of the input has channels of its own, so that weights and masks of the input
        // would have to be doubled. This is implemented for one weight only.
        if signed && !enters_by_one_weight(plan) {
            return None;
        }
        let mut builder = Builder::new(direct);
        for (index, planned) in plan.layers.iter().enumerate() {
            if let Layer::Classifier { .. } = planned.layer {
                let readout = builder.projection(|weight| Synapse::Linear { weight });
                let graph = Graph { input, layers: builder.layers, readout, classes: plan.classes };
                graph.check().ok()?;
                return Some(Self {
                    graph: Arc::new(graph),
                    // A network without neurons has nothing to run.
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
    /// The number of weights so far.
    weights: usize,
    dropouts: Vec<DropoutMask>,
    taps: Vec<(Tap, usize)>,
}

impl Builder {
    fn new(direct: bool) -> Self {
        Self {
            layers: Vec::new(),
            presynaptic: Presynaptic::Input,
            pooling: PoolAndMask::PLAIN,
            stem: direct.then_some(0),
            weights: 0,
            dropouts: Vec::new(),
            taps: Vec::new(),
        }
    }

    /// Whether the next layer still belongs to the stem.
    fn in_stem(&self) -> bool {
        self.stem.is_some() && self.layers.is_empty()
    }

    /// A projection with a weight of its own from the current spikes.
    fn projection(&mut self, synapse: impl FnOnce(usize) -> Synapse) -> Projection {
        let weight = self.weights;
        self.weights += 1;
        Projection {
            presynaptic: self.presynaptic,
            pooling: self.pooling,
            synapse: synapse(weight),
        }
    }

    /// Adds a layer of neurons, whose spikes are the current ones from now on.
    fn push(&mut self, shape: Shape, projections: Vec<Projection>) {
        self.layers.push(NeuronLayer { shape, projections });
        self.presynaptic = Presynaptic::NeuronLayer(self.layers.len() - 1);
        self.pooling = PoolAndMask::PLAIN;
    }

    /// Numbers a dropout mask.
    fn mask(&mut self, layer: usize, probability: f64, shape: Shape) -> Option<usize> {
        self.dropouts.push(DropoutMask { layer: layer as u32, probability, shape });
        Some(self.dropouts.len() - 1)
    }

    /// Adds a layer of the plan; `None` if the kernels do not cover it.
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
    fn under_direct_encoding_the_first_convolution_is_outside_of_the_graph() {
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

    /// A residual block or a dropout mask at the input would have to be made for twice as many
    /// channels.
    #[test]
    fn signed_spikes_must_enter_by_one_weight() {
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
    fn a_plan_that_the_kernels_do_not_cover_is_not_lowered() {
        let mut dropout_first = layers();
        dropout_first.swap(1, 3);
        dropout_first.insert(1, Layer::Dropout { probability: 0.2 });
        dropout_first.insert(2, Layer::AveragePool { size: 2 });
        assert!(lowered(dropout_first, Encoding::Direct {}).is_none());
        assert!(lowered(vec![Layer::Classifier { bias: false }], Encoding::Direct {}).is_none());
    }
}
