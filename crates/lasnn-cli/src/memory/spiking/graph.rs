//! A spiking network as the kernels see it: layers of neurons and the projections between them.

use lasnn_core::{Layer, Plan, PlannedLayer, Shape};
use lasnn_snn::SpikingConfig;

use super::params::Params;
use crate::memory::pass::Pass;
use crate::memory::size::{Size, elements, positions};

/// The channels in a word of spikes.
pub const LANES: usize = 16;

/// The channels that one product in bfloat16 computes.
pub const GROUP: usize = 32;

/// The largest weights of a tile of output channels, in bytes.
const TILE_BYTES: usize = 640 << 10;

/// The output features in a tile of a linear layer.
pub const LINEAR_TILE: usize = 64;

/// The kind of a projection's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synapse {
    /// A convolution. `area` is the number of positions of its kernel.
    Conv { area: usize },
    /// A linear layer.
    Linear,
    /// The shortcut of a residual block.
    Identity,
}

/// An input of a layer of neurons.
#[derive(Clone, Copy, Debug)]
pub struct Projection {
    /// The index of the presynaptic layer. `None` is the encoded input.
    pub presynaptic: Option<usize>,
    /// The shape of the presynaptic spikes after pooling.
    pub pooled: Shape,
    /// The kind of the weights.
    pub synapse: Synapse,
    /// The number of weights.
    pub weights: Size,
    /// Whether dropout masks the spikes.
    pub masked: bool,
}

/// A layer of neurons.
#[derive(Clone, Debug)]
pub struct NeuronLayer {
    /// The shape of the layer.
    pub shape: Shape,
    /// The inputs. With direct encoding the first layer has none: its currents come from an ANN
    /// layer, the stem.
    pub projections: Vec<Projection>,
    /// Whether distillation compares the layer with the teacher.
    pub tapped: bool,
}

/// A spiking network.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The shape of the images.
    pub input: Shape,
    /// The layers of neurons.
    pub layers: Vec<NeuronLayer>,
    /// The projection to the class scores.
    pub readout: Projection,
    /// The number of weights of the stem, which sees the image itself. Only direct encoding has
    /// one.
    pub stem: Option<Size>,
    /// The number of spike channels per image channel: 2 if negative spikes have their own
    /// channels.
    pub spikes_per_pixel: usize,
    /// The parameters of the neurons.
    pub params: Params,
}

impl Projection {
    /// The number of inputs of one neuron.
    pub fn fan_in(&self) -> Size {
        match self.synapse {
            Synapse::Conv { area } => Size::from(self.pooled.channels) * area,
            Synapse::Linear => elements(self.pooled),
            Synapse::Identity => Size::new(1),
        }
    }
}

impl NeuronLayer {
    /// Whether the inputs are those of a linear layer.
    pub fn is_linear(&self) -> bool {
        self.projections.iter().any(|projection| projection.synapse == Synapse::Linear)
    }

    /// The number of channels, padded to whole tiles.
    pub fn lanes(&self, pass: Pass) -> Size {
        let channels = Size::from(self.shape.channels);
        if self.is_linear() {
            return channels.up_to_multiple_of(LINEAR_TILE);
        }
        let fan_in = self.projections.iter().map(Projection::fan_in).max().unwrap_or(Size::new(1));
        let (bytes, smallest) = if pass.is_bf16() { (2usize, GROUP) } else { (4, LANES) };
        let fits = |&tile: &usize| {
            let padding = channels.up_to_multiple_of(tile) - channels;
            padding * 4usize <= channels && fan_in * tile * bytes <= TILE_BYTES.into()
        };
        channels.up_to_multiple_of([128, 64, 32].into_iter().find(fits).unwrap_or(smallest))
    }

    /// The length of one row: lanes times positions.
    pub fn row(&self, pass: Pass) -> Size {
        self.lanes(pass) * positions(self.shape)
    }

    /// The bytes of the layer's spikes: one bit for each lane.
    pub fn spikes(&self, pass: Pass) -> Size {
        self.row(pass) * pass.rows() / 8usize
    }
}

impl Graph {
    /// The graph of a plan.
    pub fn new(plan: &Plan, config: &SpikingConfig) -> Self {
        let values = config.encoding.values();
        let mut builder = Builder {
            layers: Vec::new(),
            presynaptic: None,
            pooled: plan.input,
            masked: false,
            stem: None,
            is_direct: values.is_constant(),
        };
        plan.layers.iter().for_each(|planned| builder.add(planned));
        let readout = builder.projection(Synapse::Linear, plan.classes);
        let spikes_per_pixel = if values.are_signed() { 2 } else { 1 };
        let Builder { layers, stem, .. } = builder;
        let params = Params::new(&layers, config);
        Self { input: plan.input, layers, readout, stem, spikes_per_pixel, params }
    }

    /// The number of elements of every weight tensor.
    pub fn weights(&self) -> Vec<Size> {
        let projections = self.layers.iter().flat_map(|layer| &layer.projections);
        let weights = projections.chain([&self.readout]).map(|projection| projection.weights);
        self.stem.into_iter().chain(weights.filter(|&weights| weights > Size::ZERO)).collect()
    }

    /// The number of neurons.
    pub fn neurons(&self) -> Size {
        self.layers.iter().map(|layer| elements(layer.shape)).sum()
    }

    /// The bytes of all weights except the stem, packed for the kernels.
    pub fn packed_weights(&self, bytes_per_weight: usize) -> Size {
        let projections = self.layers.iter().flat_map(|layer| &layer.projections);
        let weights = projections.chain([&self.readout]).map(|projection| projection.weights);
        weights.sum::<Size>() * bytes_per_weight
    }

    /// The length of each layer's state for a batch, such as its membrane potentials.
    pub fn states(&self, pass: Pass) -> Vec<Size> {
        self.layers.iter().map(|layer| layer.row(pass) * pass.batch).collect()
    }

    /// The lengths of the first layer's constant currents with direct encoding: as the stem
    /// computes them, and in the layout of the kernels.
    pub fn stem_currents(&self, pass: Pass) -> Vec<Size> {
        match self.layers.first() {
            Some(first) if first.projections.is_empty() => {
                vec![elements(first.shape) * pass.batch, first.row(pass) * pass.batch]
            }
            _ => Vec::new(),
        }
    }

    /// The length of one row of the spikes that a projection reads, in lanes of the presynaptic
    /// layer.
    pub fn presynaptic_row(&self, projection: &Projection, pass: Pass) -> Size {
        let lanes = match projection.presynaptic {
            Some(presynaptic) => self.layers[presynaptic].lanes(pass),
            None => Size::from(projection.pooled.channels),
        };
        lanes * positions(projection.pooled)
    }
}

/// A graph under construction.
struct Builder {
    layers: Vec<NeuronLayer>,
    /// The layer from which the next projection comes.
    presynaptic: Option<usize>,
    /// The shape of its spikes after pooling.
    pooled: Shape,
    /// Whether dropout follows it.
    masked: bool,
    stem: Option<Size>,
    is_direct: bool,
}

impl Builder {
    /// A projection from the current layer to `outputs` channels or features.
    fn projection(&self, synapse: Synapse, outputs: usize) -> Projection {
        let Self { presynaptic, pooled, masked, .. } = *self;
        let mut projection =
            Projection { presynaptic, pooled, synapse, weights: Size::ZERO, masked };
        if synapse != Synapse::Identity {
            projection.weights = projection.fan_in() * outputs;
        }
        projection
    }

    /// Adds a layer of neurons, from which the next projections come.
    fn neurons(&mut self, shape: Shape, projections: Vec<Projection>, tapped: bool) {
        self.layers.push(NeuronLayer { shape, projections, tapped });
        self.presynaptic = Some(self.layers.len() - 1);
        self.pooled = shape;
        self.masked = false;
    }

    /// Adds a layer of a plan.
    fn add(&mut self, planned: &PlannedLayer) {
        let output = planned.output;
        let tapped = planned.layer.tap().is_some();
        match planned.layer {
            Layer::Conv { kernel, .. } => {
                let area = kernel.saturating_mul(kernel);
                self.add_simple(Synapse::Conv { area }, output, tapped);
            }
            Layer::Linear { .. } => self.add_simple(Synapse::Linear, output, tapped),
            Layer::Residual { dropout, .. } => {
                let input = (self.presynaptic, self.pooled, self.masked);
                let first = self.projection(Synapse::Conv { area: 9 }, output.channels);
                self.neurons(output, vec![first], false);
                self.masked = dropout > 0.0;
                let second = self.projection(Synapse::Conv { area: 9 }, output.channels);
                (self.presynaptic, self.pooled, self.masked) = input;
                let shortcut = match planned.input == output {
                    true => Synapse::Identity,
                    false => Synapse::Conv { area: 1 },
                };
                let shortcut = self.projection(shortcut, output.channels);
                self.neurons(output, vec![second, shortcut], tapped);
            }
            Layer::AveragePool { .. } | Layer::GlobalAveragePool {} => self.pooled = output,
            Layer::Dropout { probability } => self.masked |= probability > 0.0,
            // The classifier is the readout. A spiking network has no other kinds of layers.
            _ => {}
        }
    }

    /// Adds a layer of neurons with one projection. With direct encoding the first one is the stem.
    fn add_simple(&mut self, synapse: Synapse, output: Shape, tapped: bool) {
        let projection = self.projection(synapse, output.channels);
        if self.is_direct && self.layers.is_empty() {
            self.stem = Some(projection.weights);
            self.neurons(output, Vec::new(), tapped);
        } else {
            self.neurons(output, vec![projection], tapped);
        }
    }
}
