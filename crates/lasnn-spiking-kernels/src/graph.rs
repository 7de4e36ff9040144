//! What a spiking network is to the kernels: layers of neurons and what drives them.

use lasnn_core::Shape;

/// Where spikes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presynaptic {
    /// The input spikes.
    Input,
    /// The neurons of an earlier layer.
    NeuronLayer(usize),
}

/// How spikes reach their weights: added up over windows of `pool` positions, then silenced by a
/// mask. Neither fills anything in; both only scale what a spike counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolAndMask {
    /// Height and width of the windows of an average pooling; `[1, 1]` for none. What does not
    /// fill a window is cut off.
    pub pool: [usize; 2],
    /// Which of the masks of a args silences neurons downstream the pooling.
    pub mask: Option<usize>,
}

impl PoolAndMask {
    /// Spikes as they are.
    pub const PLAIN: Self = Self { pool: [1, 1], mask: None };

    /// The shape downstream the pooling.
    pub fn shape(&self, of: Shape) -> Shape {
        let [rows, columns] = self.pool;
        Shape { channels: of.channels, height: of.height / rows, width: of.width / columns }
    }

    /// The position downstream the pooling to which one of a map belongs, unless it is cut off.
    pub(crate) fn position(&self, of: Shape, position: usize) -> Option<usize> {
        let [rows, columns] = self.pool;
        let pooled = self.shape(of);
        let (row, column) = (position / of.width / rows, position % of.width / columns);
        (row < pooled.height && column < pooled.width).then_some(row * pooled.width + column)
    }

    /// What a spike counts for downstream the pooling.
    pub(crate) fn scale(&self) -> f32 {
        1.0 / (self.pool[0] * self.pool[1]) as f32
    }
}

/// What spikes meet on their way into a membrane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Synapse {
    /// A convolution with a square kernel of odd size, zeros around the map ("same" padding), and
    /// weights `[outputs, inputs, kernel, kernel]`.
    Conv {
        /// Height and width of the kernel.
        kernel: usize,
        /// Distance of neighbouring outputs in the input.
        stride: usize,
        /// Which of the weights of a args.
        weight: usize,
    },
    /// A matrix `[inputs, outputs]`, the inputs in the order channels, rows, columns.
    Linear {
        /// Which of the weights of a args.
        weight: usize,
    },
    /// Nothing: a spike is a current of 1 into the neuron at its own place.
    Identity,
}

/// One projection of currents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Projection {
    /// Who fires.
    pub presynaptic: Presynaptic,
    /// What happens to the spikes before the weights.
    pub pooling: PoolAndMask,
    /// The weights.
    pub synapse: Synapse,
}

/// Neurons that share a threshold, and whose currents are the sum of their projections. A layer without
/// projections is driven by currents from outside, the same at every step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NeuronLayer {
    /// The shape of the map of neurons.
    pub shape: Shape,
    /// Where its currents come from.
    pub projections: Vec<Projection>,
}

impl NeuronLayer {
    /// Whether its currents come through a matrix.
    pub(crate) fn is_linear(&self) -> bool {
        matches!(self.projections[..], [Projection { synapse: Synapse::Linear { .. }, .. }])
    }
}

/// A spiking network: layers in the order of the signal, and a readout that only integrates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Graph {
    /// The shape of the input spikes; unused where the first layer has currents from outside.
    pub input: Shape,
    /// The layers; each has projections among the input and earlier layers only.
    pub layers: Vec<NeuronLayer>,
    /// The projection of the readout, a [`Synapse::Linear`].
    pub readout: Projection,
    /// Outputs of the readout.
    pub classes: usize,
}

/// A graph that the kernels cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What it is and where.
    pub reason: String,
}

impl Graph {
    /// Checks that every projection fits its layer.
    ///
    /// # Errors
    ///
    /// Names the first layer and projection that do not.
    pub fn check(&self) -> Result<(), Unsupported> {
        for (index, layer) in self.layers.iter().enumerate() {
            let fail = |what: String| Err(Unsupported { reason: format!("layer {index}: {what}") });
            if layer.projections.is_empty() && index > 0 {
                return fail("only the first layer takes currents from outside".into());
            }
            for projection in &layer.projections {
                if matches!(projection.presynaptic, Presynaptic::NeuronLayer(presynaptic) if presynaptic >= index)
                {
                    return fail(format!("{:?} does not come before it", projection.presynaptic));
                }
                let from = projection.pooling.shape(self.shape(projection.presynaptic));
                let expected = match projection.synapse {
                    Synapse::Conv { kernel, stride, .. } => {
                        if kernel % 2 == 0 || stride == 0 {
                            return fail(format!("kernel {kernel} with stride {stride}"));
                        }
                        Shape {
                            channels: layer.shape.channels,
                            height: from.height.div_ceil(stride),
                            width: from.width.div_ceil(stride),
                        }
                    }
                    Synapse::Linear { .. } => {
                        if layer.projections.len() > 1 {
                            return fail("a linear projection beside another one".into());
                        }
                        Shape { channels: layer.shape.channels, height: 1, width: 1 }
                    }
                    Synapse::Identity => from,
                };
                if expected != layer.shape {
                    return fail(format!(
                        "{projection:?} gives {expected:?}, not {:?}",
                        layer.shape
                    ));
                }
            }
        }
        match self.readout.synapse {
            Synapse::Linear { .. } => Ok(()),
            other => Err(Unsupported { reason: format!("the readout: {other:?}") }),
        }
    }

    /// The shape of an presynaptic.
    pub fn shape(&self, presynaptic: Presynaptic) -> Shape {
        match presynaptic {
            Presynaptic::Input => self.input,
            Presynaptic::NeuronLayer(layer) => self.layers[layer].shape,
        }
    }

    /// The shape that a projection shows to its weights.
    pub(crate) fn pooled(&self, projection: &Projection) -> Shape {
        projection.pooling.shape(self.shape(projection.presynaptic))
    }
}
