//! The arguments of a pass: a graph with its numbers.

use lasnn_core::Precision;
use lasnn_core::mask::MaskRows;

use crate::bf16;
use crate::event::weights::WeightFormat;
use crate::graph::{Graph, Projection};
use crate::neuron::Neurons;
use crate::packed_weights::PackedWeights;

/// One args: a graph with its numbers, for a batch of images.
#[derive(Clone, Copy, Debug)]
pub struct ForwardArgs<'a> {
    /// The graph, which has passed [`Graph::check`].
    pub graph: &'a Graph,
    /// The neurons of each layer.
    pub neurons: &'a [Neurons],
    /// The weights that synapses name, in their layouts.
    pub weights: &'a [&'a [f32]],
    /// The masks that views name, each with a row for each image, `[channels, height, width]` of the pooling's
    /// shape: they silence neurons. `None`: nobody is silenced.
    pub masks: &'a [Option<MaskRows<'a>>],
    /// Images.
    pub batch: usize,
    /// The same weights, packed before.
    pub packed_weights: Option<&'a PackedWeights>,
    /// What a recorded pass and its pass back multiply. [`Precision::Bf16`] is for weights and gradients, and
    /// derivatives of spikes are saved in 8 bits then; but where neurons have another reset than
    /// [`Reset::Subtract`], or a surrogate without bounded support, it is for gradients only.
    ///
    /// [`Reset::Subtract`]: super::Reset::Subtract
    pub precision: Precision,
}

/// The input of the first layer of neurons; `T` is a slice or a tensor.
#[derive(Clone, Copy, Debug)]
pub enum NetworkInput<T> {
    /// Currents `[batch, channels, height, width]`, the same at every time step.
    Currents(T),
    /// Spikes `[steps, batch, channels, height, width]`; a neuron without a spike has 0.
    Spikes(T),
}

impl<T> NetworkInput<T> {
    /// The currents or the spikes.
    pub fn values(&self) -> &T {
        match self {
            Self::Currents(values) | Self::Spikes(values) => values,
        }
    }

    /// The same kind of input with other values.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> NetworkInput<U> {
        match self {
            Self::Currents(values) => NetworkInput::Currents(change(values)),
            Self::Spikes(values) => NetworkInput::Spikes(change(values)),
        }
    }
}

impl<'a> ForwardArgs<'a> {
    /// Whether a recorded pass rounds what it multiplies and remembers: if it is to, and 8 bits will do
    /// for the derivatives of its neurons' spikes.
    pub(crate) fn uses_bf16(&self) -> bool {
        self.precision == Precision::Bf16
            && self.neurons.iter().all(|neurons| neurons.surrogate_max().is_some())
    }

    /// How a pass has its weights.
    pub(crate) fn format(&self) -> WeightFormat {
        match self.packed_weights {
            Some(packed_weights) => packed_weights.format(),
            None if self.uses_bf16() => WeightFormat::Bf16,
            None => WeightFormat::F32,
        }
    }

    /// Whether all projections of a layer are multiplied in tiles.
    pub(crate) fn is_tiled(&self, layer: usize) -> bool {
        let projections = &self.graph.layers[layer].projections;
        self.format() == WeightFormat::Bf16
            && !projections.is_empty()
            && projections.iter().all(|projection| bf16::fit(&projection.pooling))
    }

    /// The mask in the pooling of a projection.
    pub(crate) fn mask(&self, projection: &Projection) -> Option<MaskRows<'a>> {
        self.masks[projection.pooling.mask?]
    }
}
