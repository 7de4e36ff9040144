//! What a spiking network is to the kernels: sites of neurons and what drives them.

use lasnn_core::Precision;
use lasnn_core::mask::MaskRows;

use super::neuron::Neurons;
use super::prepared::Prepared;
use super::tiles;
use super::weights::WeightFormat;

/// Channels, height and width of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels; for a linear layer, its features.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Positions of a map.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Neurons of a map.
    pub fn neurons(&self) -> usize {
        self.channels * self.positions()
    }
}

/// Where spikes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The input spikes.
    Input,
    /// The neurons of an earlier site.
    Site(usize),
}

/// How spikes reach their weights: added up over windows of `pool` positions, then silenced by a
/// mask. Neither fills anything in; both only scale what a spike counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Height and width of the windows of an average pooling; `[1, 1]` for none. What does not
    /// fill a window is cut off.
    pub pool: [usize; 2],
    /// Which of the masks of a call silences neurons behind the pooling.
    pub mask: Option<usize>,
}

impl View {
    /// Spikes as they are.
    pub const PLAIN: Self = Self { pool: [1, 1], mask: None };

    /// The shape behind the pooling.
    pub fn shape(&self, of: Shape) -> Shape {
        let [rows, columns] = self.pool;
        Shape { channels: of.channels, height: of.height / rows, width: of.width / columns }
    }

    /// The position behind the pooling to which one of a map belongs, unless it is cut off.
    pub(super) fn position(&self, of: Shape, position: usize) -> Option<usize> {
        let [rows, columns] = self.pool;
        let seen = self.shape(of);
        let (row, column) = (position / of.width / rows, position % of.width / columns);
        (row < seen.height && column < seen.width).then_some(row * seen.width + column)
    }

    /// What a spike counts for behind the pooling.
    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.pool[0] * self.pool[1]) as f32
    }
}

/// What spikes meet on their way into a membrane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Connection {
    /// A convolution with a square kernel of odd size, zeros around the map ("same" padding), and
    /// weights `[outputs, inputs, kernel, kernel]`.
    Conv {
        /// Height and width of the kernel.
        kernel: usize,
        /// Distance of neighbouring outputs in the input.
        stride: usize,
        /// Which of the weights of a call.
        weight: usize,
    },
    /// A matrix `[inputs, outputs]`, the inputs in the order channels, rows, columns.
    Linear {
        /// Which of the weights of a call.
        weight: usize,
    },
    /// Nothing: a spike is a current of 1 into the neuron at its own place.
    Identity,
}

/// One source of currents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Who fires.
    pub origin: Origin,
    /// What happens to the spikes before the weights.
    pub view: View,
    /// The weights.
    pub connection: Connection,
}

/// Neurons that share a threshold, and whose currents are the sum of their sources. A site without
/// sources is driven by currents from outside, the same at every step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// The shape of the map of neurons.
    pub shape: Shape,
    /// Where its currents come from.
    pub sources: Vec<Source>,
}

impl Site {
    /// Whether its currents come through a matrix.
    pub(super) fn is_linear(&self) -> bool {
        matches!(self.sources[..], [Source { connection: Connection::Linear { .. }, .. }])
    }
}

/// A spiking network: sites in the order of the signal, and a readout that only integrates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Circuit {
    /// The shape of the input spikes; unused where the first site has currents from outside.
    pub input: Shape,
    /// The sites; each has sources among the input and earlier sites only.
    pub sites: Vec<Site>,
    /// The source of the readout, a [`Connection::Linear`].
    pub readout: Source,
    /// Outputs of the readout.
    pub classes: usize,
}

/// A circuit that the kernels cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What it is and where.
    pub reason: String,
}

impl Circuit {
    /// Checks that every source fits its site.
    ///
    /// # Errors
    ///
    /// Names the first site and source that do not.
    pub fn check(&self) -> Result<(), Unsupported> {
        for (index, site) in self.sites.iter().enumerate() {
            let fail = |what: String| Err(Unsupported { reason: format!("site {index}: {what}") });
            if site.sources.is_empty() && index > 0 {
                return fail("only the first site takes currents from outside".into());
            }
            for source in &site.sources {
                if matches!(source.origin, Origin::Site(origin) if origin >= index) {
                    return fail(format!("{:?} does not come before it", source.origin));
                }
                let from = source.view.shape(self.shape(source.origin));
                let expected = match source.connection {
                    Connection::Conv { kernel, stride, .. } => {
                        if kernel % 2 == 0 || stride == 0 {
                            return fail(format!("kernel {kernel} with stride {stride}"));
                        }
                        Shape {
                            channels: site.shape.channels,
                            height: from.height.div_ceil(stride),
                            width: from.width.div_ceil(stride),
                        }
                    }
                    Connection::Linear { .. } => {
                        if site.sources.len() > 1 {
                            return fail("a linear source beside another one".into());
                        }
                        Shape { channels: site.shape.channels, height: 1, width: 1 }
                    }
                    Connection::Identity => from,
                };
                if expected != site.shape {
                    return fail(format!("{source:?} gives {expected:?}, not {:?}", site.shape));
                }
            }
        }
        match self.readout.connection {
            Connection::Linear { .. } => Ok(()),
            other => Err(Unsupported { reason: format!("the readout: {other:?}") }),
        }
    }

    /// The shape of an origin.
    pub fn shape(&self, origin: Origin) -> Shape {
        match origin {
            Origin::Input => self.input,
            Origin::Site(site) => self.sites[site].shape,
        }
    }

    /// The shape that a source shows to its weights.
    pub(super) fn seen(&self, source: &Source) -> Shape {
        source.view.shape(self.shape(source.origin))
    }
}

/// One call: a circuit with its numbers, for a batch of images.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The circuit, which has passed [`Circuit::check`].
    pub circuit: &'a Circuit,
    /// The neurons of each site.
    pub neurons: &'a [Neurons],
    /// The weights that connections name, in their layouts.
    pub weights: &'a [&'a [f32]],
    /// The masks that views name, each with a row for each image, `[channels, height, width]` of the view's
    /// shape: they silence neurons. `None`: nobody is silenced.
    pub masks: &'a [Option<MaskRows<'a>>],
    /// Images.
    pub batch: usize,
    /// The same weights, packed before.
    pub prepared: Option<&'a Prepared>,
    /// What a recorded pass and its pass back multiply. [`Precision::Bf16`] is for weights and gradients, and
    /// derivatives of spikes are kept in 8 bits then; but where neurons have another reset than
    /// [`Reset::Subtract`], or a surrogate without bounded support, it is for gradients only.
    ///
    /// [`Reset::Subtract`]: super::Reset::Subtract
    pub precision: Precision,
}

/// What drives the first site.
#[derive(Clone, Copy, Debug)]
pub enum Drive<'a> {
    /// Currents `[batch, channels, height, width]` of the first site, the same at every step.
    Currents(&'a [f32]),
    /// Spikes `[steps, batch, channels, height, width]`: 0 where there is none.
    Spikes(&'a [f32]),
}

impl<'a> Call<'a> {
    /// Whether a recorded pass rounds what it multiplies and remembers: if it is to, and 8 bits will do
    /// for the derivatives of its neurons' spikes.
    pub(super) fn is_rough(&self) -> bool {
        self.precision == Precision::Bf16
            && self.neurons.iter().all(|neurons| neurons.steepest().is_some())
    }

    /// How a pass has its weights.
    pub(super) fn format(&self) -> WeightFormat {
        match self.prepared {
            Some(prepared) => prepared.format(),
            None if self.is_rough() => WeightFormat::Bf16,
            None => WeightFormat::F32,
        }
    }

    /// Whether all sources of a site are multiplied in tiles.
    pub(super) fn is_tiled(&self, site: usize) -> bool {
        let sources = &self.circuit.sites[site].sources;
        self.format() == WeightFormat::Bf16
            && !sources.is_empty()
            && sources.iter().all(|source| tiles::fit(&source.view))
    }

    /// The mask in the view of a source.
    pub(super) fn mask(&self, source: &Source) -> Option<MaskRows<'a>> {
        self.masks[source.view.mask?]
    }
}
