//! The description of a spiking network: layers of neurons, and the projections between them.
//!
//! A graph holds no numbers. Everything that can be trained is a parameter: a layer and its
//! projections name their parameters and masks by an index, and the arguments of a pass hold the
//! numbers in that order. So one graph serves all passes over a network.

use lasnn_core::Shape;

/// The index of a parameter among the parameters of a pass.
pub type ParamIndex = usize;

/// A spiking network: layers of neurons in the order of the signal, then a readout. The readout
/// sums its currents over time and never fires.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Graph {
    /// The shape of the input spikes. It is unused if the first layer takes currents from outside.
    pub input: Shape,
    /// The layers. The projections of a layer come from the input or from earlier layers.
    pub layers: Vec<NeuronLayer>,
    /// The projection into the readout. Its synapse is [`Synapse::Linear`].
    pub readout: Projection,
    /// The bias of the readout, `[classes]`, a current that it receives at every time step.
    pub readout_bias: Option<ParamIndex>,
    /// The number of outputs of the readout.
    pub classes: usize,
}

/// A layer of neurons. Their current is the sum over the projections of the layer, plus the bias.
///
/// A layer without projections takes currents from outside, which are the same at every time step.
/// Only the first layer may do so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NeuronLayer {
    /// The shape of the feature map of neurons.
    pub shape: Shape,
    /// The projections into this layer.
    pub projections: Vec<Projection>,
    /// The parameters of the neurons.
    pub params: NeuronParams,
}

/// The parameters of a layer of neurons. A parameter with one number is shared by all neurons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NeuronParams {
    /// The threshold `v`, above 0: `[1]` or `[channels]`.
    pub threshold: ParamIndex,
    /// The leak `λ`, the share of the membrane potential that is left after a step, above 0 and at
    /// most 1: `[1]`.
    pub leak: ParamIndex,
    /// A current that the neurons receive at every time step: `[1]` or `[channels]`. `None` is no
    /// such current. A layer that takes currents from outside has no bias; it belongs to them.
    pub bias: Option<ParamIndex>,
    /// The membrane potential before the first step: `[1]` or `[channels, height, width]`. `None`
    /// is rest, a potential of 0.
    pub initial_membrane: Option<ParamIndex>,
}

/// A connection from presynaptic neurons into a layer: pooling and mask first, then synapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Projection {
    /// The neurons that fire.
    pub presynaptic: Presynaptic,
    /// The pooling and the dropout mask between the neurons and the synapses.
    pub pooling: PoolAndMask,
    /// The synapses.
    pub synapse: Synapse,
}

/// Where the spikes of a projection come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presynaptic {
    /// The input spikes.
    Input,
    /// The neurons of an earlier layer, by its index.
    NeuronLayer(usize),
}

/// Average pooling, then a dropout mask.
///
/// Neither makes new values: pooling sums spikes and multiplies by a constant, and a mask removes
/// spikes and multiplies by a constant. The kernels sum spikes and apply both constants last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolAndMask {
    /// Height and width of the pooling windows, `[1, 1]` for no pooling. Rows and columns that do
    /// not fill a window are cut off.
    pub pool: [usize; 2],
    /// The index of the mask among the masks of a pass. A mask has the shape after the pooling.
    pub mask: Option<usize>,
}

/// How spikes become currents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Synapse {
    /// A convolution with a square kernel of odd size, zero padding of `kernel / 2`, and weights
    /// `[outputs, inputs, kernel, kernel]`.
    Conv {
        /// Height and width of the kernel.
        kernel: usize,
        /// The distance between the windows of neighbouring outputs.
        stride: usize,
        /// The weights.
        weight: ParamIndex,
    },
    /// A matrix of weights `[inputs, outputs]`. Inputs are in the order channel, row, column.
    Linear {
        /// The weights.
        weight: ParamIndex,
    },
    /// No weights: a spike is a current of 1 into the neuron at the same channel and position.
    Identity,
}

/// The error of [`Graph::check`]: the kernels cannot run the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The layer, and what is wrong with it.
    pub reason: String,
}

impl Graph {
    /// Checks that the kernels can run this graph and that the shapes fit together.
    ///
    /// # Errors
    ///
    /// Names the first layer that does not fit, and why.
    pub fn check(&self) -> Result<(), Unsupported> {
        for (index, layer) in self.layers.iter().enumerate() {
            let fail = |what: String| Unsupported { reason: format!("layer {index}: {what}") };
            if layer.projections.is_empty() && index > 0 {
                return Err(fail("only the first layer takes currents from outside".into()));
            }
            if layer.projections.is_empty() && layer.params.bias.is_some() {
                return Err(fail("a bias beside currents from outside".into()));
            }
            for projection in &layer.projections {
                self.check_projection(index, projection).map_err(fail)?;
            }
        }
        match self.readout.synapse {
            Synapse::Linear { .. } => Ok(()),
            other => {
                let reason = format!("the readout: expected a linear synapse, found {other:?}");
                Err(Unsupported { reason })
            }
        }
    }

    /// The shape of the neurons that fire.
    ///
    /// # Panics
    ///
    /// Panics if the graph has no such layer.
    pub fn shape(&self, presynaptic: Presynaptic) -> Shape {
        match presynaptic {
            Presynaptic::Input => self.input,
            Presynaptic::NeuronLayer(layer) => self.layers[layer].shape,
        }
    }

    /// The shape of the spikes of a projection after its pooling, which its synapses take.
    pub(crate) fn pooled(&self, projection: &Projection) -> Shape {
        projection.pooling.shape(self.shape(projection.presynaptic))
    }

    fn check_projection(&self, index: usize, projection: &Projection) -> Result<(), String> {
        let Projection { presynaptic, synapse, .. } = *projection;
        if matches!(presynaptic, Presynaptic::NeuronLayer(layer) if layer >= index) {
            return Err(format!("{presynaptic:?} does not come before it"));
        }
        let layer = &self.layers[index];
        let pooled = self.pooled(projection);
        let found = match synapse {
            Synapse::Conv { kernel, stride, .. } => {
                if kernel % 2 == 0 || stride == 0 {
                    return Err(format!(
                        "kernel {kernel} with stride {stride}: expected an odd kernel and a stride \
                         of at least 1"
                    ));
                }
                Shape {
                    channels: layer.shape.channels,
                    height: pooled.height.div_ceil(stride),
                    width: pooled.width.div_ceil(stride),
                }
            }
            Synapse::Linear { .. } => {
                if layer.projections.len() > 1 {
                    return Err("a linear projection beside another one".into());
                }
                Shape { channels: layer.shape.channels, height: 1, width: 1 }
            }
            Synapse::Identity => pooled,
        };
        match found == layer.shape {
            true => Ok(()),
            false => Err(format!("{projection:?} gives {found:?}, expected {:?}", layer.shape)),
        }
    }
}

impl NeuronLayer {
    /// Whether its currents come through a matrix.
    pub(crate) fn is_linear(&self) -> bool {
        matches!(self.projections[..], [Projection { synapse: Synapse::Linear { .. }, .. }])
    }
}

impl PoolAndMask {
    /// No pooling and no mask.
    pub const PLAIN: Self = Self { pool: [1, 1], mask: None };

    /// The shape after the pooling of a feature map of shape `map`.
    pub fn shape(&self, map: Shape) -> Shape {
        let [rows, columns] = self.pool;
        Shape { channels: map.channels, height: map.height / rows, width: map.width / columns }
    }

    /// The position after the pooling whose window has `position` of a feature map of shape `map`
    /// in it, or `None` if the pooling cuts that position off.
    pub(crate) fn position(&self, map: Shape, position: usize) -> Option<usize> {
        let [rows, columns] = self.pool;
        let pooled = self.shape(map);
        let (row, column) = (position / map.width / rows, position % map.width / columns);
        (row < pooled.height && column < pooled.width).then_some(row * pooled.width + column)
    }

    /// The number of positions in a window.
    pub(crate) fn window(&self) -> usize {
        self.pool[0] * self.pool[1]
    }

    /// The value of one spike after the pooling.
    pub(crate) fn scale(&self) -> f32 {
        1.0 / self.window() as f32
    }
}
