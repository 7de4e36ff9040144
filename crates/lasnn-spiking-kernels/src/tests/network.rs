//! A small network with weights, masks, input and output gradients.

#![allow(clippy::unwrap_used)]

use crate::args::{ForwardArgs, NetworkInput};
use crate::backward::{Gradients, OutcomeGrad};
use crate::event::weights::WeightFormat;
use crate::forward::{LayerProbes, Outcome, SpikeStats};
use crate::graph::{
    Graph, NeuronLayer, NeuronParams, PoolAndMask, Presynaptic, Projection, Synapse,
};
use crate::packed_weights::PackedWeights;
use lasnn_core::Precision;
use lasnn_core::Shape;
use lasnn_core::mask::Mask;
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;
use lasnn_gemm::product::round_to_bf16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub batch: usize,
    pub steps: usize,
}

/// The kind of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// Small integers, whose sums are exact in any order.
    Integers,
    /// Numbers of so many bits that their sums are rounded.
    ManyBits,
}

/// The number of weights of the network, and of its layers.
const WEIGHTS: usize = 7;
const LAYERS: usize = 5;
/// The layers whose membrane potentials are returned: two on maps and a linear one.
const OF_MEMBRANES: [usize; 3] = [0, 2, 4];

/// Small integers, which bfloat16 holds exactly.
fn numbers(count: usize, by: usize) -> Vec<f32> {
    (0..count).map(|i| (i * by % 15) as f32 - 7.0).collect()
}

/// A network with all kinds of projections: after poolings and masks, with a stride, a shortcut
/// with weights and one without, and linear layers. One of the poolings cuts neurons off.
fn graph() -> Graph {
    let map = |channels, side| Shape { channels, height: side, width: side };
    let conv = |kernel, stride, weight| Synapse::Conv { kernel, stride, weight };
    let projection = |layer, synapse| Projection {
        presynaptic: Presynaptic::NeuronLayer(layer),
        pooling: PoolAndMask::PLAIN,
        synapse,
    };
    let pooled = |mask| PoolAndMask { pool: [2, 2], mask: Some(mask) };
    let input =
        Projection { presynaptic: Presynaptic::Input, pooling: pooled(0), synapse: conv(3, 1, 0) };
    let masked = Projection { pooling: pooled(1), ..projection(2, conv(3, 1, 4)) };
    // Each layer has a threshold of its own; all share a leak.
    let layer = |index, shape, projections| NeuronLayer {
        shape,
        projections,
        params: NeuronParams {
            threshold: WEIGHTS + index,
            leak: WEIGHTS + LAYERS,
            bias: None,
            initial_membrane: None,
        },
    };
    let second = vec![projection(0, conv(3, 1, 1)), projection(0, Synapse::Identity)];
    let third = vec![projection(1, conv(3, 2, 2)), projection(1, conv(1, 2, 3))];
    Graph {
        input: map(5, 12),
        layers: vec![
            layer(0, map(40, 6), vec![input]),
            layer(1, map(40, 6), second),
            layer(2, map(33, 3), third),
            layer(3, map(70, 1), vec![masked]),
            layer(4, map(50, 1), vec![projection(3, Synapse::Linear { weight: 5 })]),
        ],
        readout: projection(4, Synapse::Linear { weight: 6 }),
        readout_bias: None,
        classes: 3,
    }
}

pub(crate) struct Network {
    size: Size,
    graph: Graph,
    neurons: Vec<NeuronOptions>,
    /// The weights, the thresholds of the layers, and the leak.
    params: Vec<Vec<f32>>,
    masks: [Mask; 2],
    /// Spikes, or currents if the first layer has no projections.
    input: Vec<f32>,
    readout_grad: Vec<f32>,
    /// The gradient of the spike counts of the second layer.
    counts_grad: Vec<f32>,
    /// The gradient of the squared counts of the second layer, summed over channels.
    squares_grad: Vec<f32>,
    /// By layer: the gradient of the membrane potentials; empty if they are not returned.
    membrane_grads: Vec<Vec<f32>>,
}

impl Network {
    /// If the network is `driven`, its first layer receives currents from outside, not spikes.
    pub fn new(size: Size, weights: Weights, step_order: StepOrder, driven: bool) -> Self {
        let Size { batch, steps } = size;
        let mut graph = graph();
        let fires = |i: usize| if i * 7919 % 31 < 7 { 1.0 } else { 0.0 };
        let mut input: Vec<f32> = (0..steps * batch * graph.input.len()).map(fires).collect();
        if driven {
            graph.layers[0].projections.clear();
            input = numbers(batch * 40 * 36, 13).iter().map(|x| x / 2.0).collect();
        }
        graph.check().unwrap();
        // Integer potentials lie far from most thresholds, so most surrogates are wide.
        let wide = Surrogate::Rectangular { width: 20.0 };
        let narrow = Surrogate::Linear { damping: 0.3 };
        let neurons = [(9.0, wide), (40.0, narrow), (60.0, wide), (9.0, wide), (30.0, wide)];
        let thresholds = neurons.map(|(threshold, _)| vec![threshold]);
        let reset = Reset::Subtract;
        let neurons = neurons.map(|(_, surrogate)| NeuronOptions { reset, step_order, surrogate });
        let mask = |size: usize| {
            let factors = (0..batch * size).map(|i| if i % 4 == 0 { 0.0 } else { 2.0 });
            Mask::of(size, &factors.collect::<Vec<f32>>())
        };
        let sizes = [40 * 5 * 9, 40 * 40 * 9, 33 * 40 * 9, 33 * 40, 70 * 33 * 9, 70 * 50, 50 * 3];
        let weight = |i: usize, integer: f32| match weights {
            Weights::Integers => integer,
            Weights::ManyBits => integer * 0.917_351 + (i as f32).sin(),
        };
        let weights = sizes.map(|size| {
            let weights = numbers(size, 11).into_iter().enumerate();
            weights.map(|(i, integer)| weight(i, integer)).collect()
        });
        let membrane_grad = |layer: usize| match OF_MEMBRANES.contains(&layer) {
            true => numbers(steps * batch * graph.layers[layer].shape.len(), 3),
            false => Vec::new(),
        };
        Self {
            size,
            membrane_grads: (0..LAYERS).map(membrane_grad).collect(),
            graph,
            neurons: neurons.into(),
            params: weights.into_iter().chain(thresholds).chain([vec![1.0]]).collect(),
            masks: [mask(5 * 36), mask(33)],
            input,
            readout_grad: numbers(batch * 3, 5),
            counts_grad: numbers(batch * 40 * 36, 7),
            squares_grad: numbers(batch * 36, 7),
        }
    }

    /// The same network with weights rounded to bfloat16.
    pub fn rounded(mut self) -> Self {
        for weight in self.params[..WEIGHTS].iter_mut().flatten() {
            *weight = round_to_bf16(*weight);
        }
        self
    }

    fn with_args<T>(&self, run: impl FnOnce(ForwardArgs<'_>, NetworkInput<&[f32]>) -> T) -> T {
        let params: Vec<&[f32]> = self.params.iter().map(Vec::as_slice).collect();
        let trained: Vec<bool> = (0..params.len()).map(|param| param < WEIGHTS).collect();
        let args = ForwardArgs {
            graph: &self.graph,
            neurons: &self.neurons,
            params: &params,
            trained: &trained,
            masks: &[Some(self.masks[0].rows()), Some(self.masks[1].rows())],
            batch: self.size.batch,
            packed_weights: None,
            precision: Precision::F32,
        };
        let driven = self.graph.layers[0].projections.is_empty();
        let input = if driven {
            NetworkInput::Currents(&self.input[..])
        } else {
            NetworkInput::Spikes(&self.input[..])
        };
        run(args, input)
    }

    /// A recorded forward pass, and the backward pass from the readout, from the statistics of the
    /// second layer and from membrane potentials.
    pub fn learn(&self, precision: Precision, stats: SpikeStats) -> (Outcome, Gradients) {
        self.with_args(|args, input| {
            let args = ForwardArgs { precision, ..args };
            let (outcome, tape) = args.record(
                input,
                self.size.steps,
                LayerProbes { stats: &[stats; 5], membranes: &OF_MEMBRANES },
            );
            let counts = [None, Some(&self.counts_grad[..]), None, None, None];
            let squares = [None, Some(&self.squares_grad[..]), None, None, None];
            let (counts, squares) = match stats {
                SpikeStats::Squares => (&[][..], &squares[..]),
                _ => (&counts[..], &[][..]),
            };
            let membranes: Vec<Option<&[f32]>> = (self.membrane_grads.iter())
                .map(|grad| Some(&grad[..]).filter(|grad| !grad.is_empty()))
                .collect();
            let (readout, membranes) = (&self.readout_grad[..], &membranes[..]);
            let grad = OutcomeGrad { readout, counts, squares, membranes, ..Default::default() };
            (outcome, args.backward(&tape, grad))
        })
    }

    /// A forward pass without a tape, with spike counts and membrane potentials.
    pub fn stream(&self, format: WeightFormat) -> Outcome {
        self.with_args(|args, input| {
            let packed_weights = PackedWeights::new(args.graph, args.params, format);
            let args = ForwardArgs { packed_weights: Some(&packed_weights), ..args };
            let probes = LayerProbes { stats: &[SpikeStats::Counts; 5], membranes: &OF_MEMBRANES };
            args.advance(input, self.size.steps, &mut args.start(), probes)
        })
    }
}
