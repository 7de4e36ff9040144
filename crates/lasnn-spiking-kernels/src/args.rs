//! The arguments of a pass: a graph with its numbers, and the policy that follows from them.
//!
//! The policy says which format weights have, how layers are cut into tiles, and what a tape saves.

use std::cmp::Reverse;

use lasnn_core::Precision;
use lasnn_core::mask::MaskRows;
use lasnn_core::neuron::NeuronOptions;

use crate::event::weights::WeightFormat;
use crate::graph::{Graph, NeuronLayer, ParamIndex, Projection, Synapse};
use crate::layout;
use crate::neuron::surrogate_max;
use crate::packed_weights::PackedWeights;
use crate::spikes::Grid;
use crate::tape::SavePolicy;
use lasnn_core::surrogate::Surrogate;

/// The arguments of a pass over a batch of images: a graph with its parameters, neurons and masks.
#[derive(Clone, Copy, Debug)]
pub struct ForwardArgs<'a> {
    /// The graph, for which [`Graph::check`] has returned `Ok`.
    pub graph: &'a Graph,
    /// By layer: the options of its neurons.
    pub neurons: &'a [NeuronOptions],
    /// The parameters that the graph names: weights in the layouts that [`Synapse`] describes,
    /// biases, thresholds, leaks and initial membrane potentials in the shapes of
    /// [`NeuronParams`](crate::NeuronParams).
    pub params: &'a [&'a [f32]],
    /// By parameter: whether [`ForwardArgs::backward`] computes its gradient.
    pub trained: &'a [bool],
    /// The masks that projections name, each `[batch]` rows of `[channels, height, width]` after
    /// the pooling. A mask silences neurons; `None` silences none.
    pub masks: &'a [Option<MaskRows<'a>>],
    /// The number of images.
    pub batch: usize,
    /// The same weights, packed before; `None` to pack them in each pass. A pass computes with the
    /// format of packed weights, whatever its precision.
    pub packed_weights: Option<&'a PackedWeights>,
    /// The precision of the products of a recorded pass and its backward pass.
    ///
    /// [`Precision::Bf16`] rounds weights and gradients, and saves surrogate derivatives in 8 bits.
    /// It rounds gradients only if 8 bits are not enough, which is so for a reset other than
    /// [`Reset::Subtract`](crate::Reset::Subtract) and for surrogates of unbounded support. Layers
    /// with a trained leak save membrane potentials in bfloat16 in place of the derivatives.
    pub precision: Precision,
}

/// The input of a network. `T` is a slice or a tensor.
#[derive(Clone, Copy, Debug)]
pub enum NetworkInput<T> {
    /// Currents into the first layer, `[batch, channels, height, width]`, the same at every time
    /// step.
    Currents(T),
    /// Spikes, `[steps, batch, channels, height, width]`. A number above 0 is a spike.
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
    /// The mask of a projection.
    pub(crate) fn mask(&self, projection: &Projection) -> Option<MaskRows<'a>> {
        self.masks[projection.pooling.mask?]
    }

    /// The value of a spike after the pooling and the mask of a projection, if the mask keeps it.
    pub(crate) fn scale(&self, projection: &Projection) -> f32 {
        projection.pooling.scale() * self.mask(projection).map_or(1.0, |mask| mask.factor())
    }

    /// Whether a recorded pass rounds its weights to bfloat16 and saves surrogate derivatives in 8
    /// bits.
    pub(crate) fn uses_bf16(&self) -> bool {
        self.precision == Precision::Bf16
            && (0..self.neurons.len()).all(|layer| self.bf16_is_enough(layer))
    }

    /// The format of the weights.
    pub(crate) fn format(&self) -> WeightFormat {
        match self.packed_weights {
            Some(packed_weights) => packed_weights.format(),
            None if self.uses_bf16() => WeightFormat::Bf16,
            None => WeightFormat::F32,
        }
    }

    /// How the channels of a layer are cut into tiles.
    pub(crate) fn grid(&self, layer: usize) -> Grid {
        layout::grid(self.graph, layer, self.format())
    }

    /// By layer: what a tape saves beside the spikes.
    ///
    /// With [`ForwardArgs::uses_bf16`] that is the surrogate derivatives, or the membrane
    /// potentials where a trained parameter needs them. Otherwise it is the currents of the layers
    /// whose neurons have the most inputs, because their currents take the longest to compute
    /// again. The tape stays within one byte per neuron and time step then.
    pub(crate) fn save_policies(&self) -> Vec<SavePolicy> {
        let layers = &self.graph.layers;
        if self.uses_bf16() {
            let policy = |layer: usize| match self.needs_membranes(layer) {
                true => SavePolicy::MembraneBf16,
                false => SavePolicy::SurrogateQ8,
            };
            return (0..layers.len()).map(policy).collect();
        }
        let numbers = |layer: usize| {
            let grid = self.grid(layer);
            grid.lanes() * grid.shape.positions()
        };
        let neurons: usize = layers.iter().map(|layer| layer.shape.len()).sum();
        let bits: usize = (0..layers.len()).map(numbers).sum();
        let mut left = neurons.saturating_sub(bits / 8);

        let mut most_inputs_first: Vec<usize> = (0..layers.len()).collect();
        most_inputs_first.sort_by_key(|&layer| Reverse(self.inputs(&layers[layer])));
        let mut save_policies = vec![SavePolicy::Nothing; layers.len()];
        for layer in most_inputs_first {
            let bytes = numbers(layer) * size_of::<f32>();
            if bytes <= left && !layers[layer].projections.is_empty() {
                save_policies[layer] = SavePolicy::Currents;
                left -= bytes;
            }
        }
        save_policies
    }

    /// Whether the backward pass needs a gradient of this parameter.
    pub(crate) fn is_trained(&self, param: ParamIndex) -> bool {
        self.trained[param]
    }

    /// Whether surrogate derivatives in 8 bits, or membrane potentials in bfloat16, are enough for
    /// the gradients of a layer.
    ///
    /// The gradient of the threshold needs the membrane potential where the surrogate derivative is
    /// not zero. There, the derivative of the linear surrogate and the spike tell it; that of the
    /// rectangular surrogate does not. Its edges are so sharp that a rounded potential may fall on
    /// their other side.
    fn bf16_is_enough(&self, layer: usize) -> bool {
        let (options, params) = (&self.neurons[layer], self.graph.layers[layer].params);
        let is_linear = matches!(options.surrogate, Surrogate::Linear { .. });
        let is_trained = self.is_trained(params.threshold) || self.is_trained(params.leak);
        surrogate_max(options).is_some() && (is_linear || !is_trained)
    }

    /// Whether the gradients of a layer's parameters need all membrane potentials. That of the leak
    /// is a sum over them.
    fn needs_membranes(&self, layer: usize) -> bool {
        self.is_trained(self.graph.layers[layer].params.leak)
    }

    /// The number of inputs of one neuron of a layer.
    fn inputs(&self, layer: &NeuronLayer) -> usize {
        let inputs = layer.projections.iter().map(|projection| {
            let pooled = self.graph.pooled(projection);
            match projection.synapse {
                Synapse::Conv { kernel, .. } => kernel * kernel * pooled.channels,
                Synapse::Linear { .. } => pooled.len(),
                Synapse::Identity => 1,
            }
        });
        inputs.sum()
    }
}
