//! A whole spiking network as one operation.
//!
//! Between the operations of a tensor library stand dense tensors of floats. A network that is one
//! operation keeps its spikes to itself, a bit each, and computes only where there is one; what
//! comes out is what a loss needs: the readout and, where asked for, how often neurons fired.
//!
//! The kernels are those of [`lasnn_spiking_kernels`]; [`crate::SpikingBackend::network`] says on
//! which backends.

use std::sync::Arc;

use burn::tensor::{Shape, TensorMetadata, backend::Backend, ops::FloatTensor};
use lasnn_core::{Mask, Precision};
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, Membranes, Neurons, Outcome, OutcomeGrad, PackedWeights, SpikeStats, Tape,
    WeightFormat,
};

pub use lasnn_spiking_kernels::NetworkInput;

use crate::backend::SpikingBackend;
use lasnn_core::neuron::NeuronOptions;

/// A pass of a spiking network.
#[derive(Clone, Debug)]
pub struct NetworkPass<B: Backend> {
    /// What is connected to what; it has passed its own check.
    pub graph: Arc<Graph>,
    /// The neurons of each layer.
    pub neurons: Arc<[Neurons]>,
    /// The weights that the graph names, in its layouts.
    pub weights: Vec<FloatTensor<B>>,
    /// What drives the first layer.
    pub input: NetworkInput<FloatTensor<B>>,
    /// The masks that the graph names, each with a row `[channels, height, width]` for each image.
    pub masks: Arc<[Option<Mask>]>,
    /// Images.
    pub batch: usize,
    /// Time steps.
    pub steps: usize,
    /// What is stats of each layer.
    pub stats: Arc<[SpikeStats]>,
    /// The weights once more, as [`prepare`] makes them.
    pub packed_weights: Option<Arc<PackedWeights>>,
    /// What a recorded pass and its pass back multiply, as [`ForwardArgs::precision`] says.
    pub precision: Precision,
}

/// The neurons of a layer as the kernels take them.
pub fn neurons(threshold: f32, leak: f32, options: NeuronOptions) -> Neurons {
    let NeuronOptions { reset, step_order, surrogate } = options;
    Neurons { threshold, leak, reset, step_order, surrogate }
}

impl<B: Backend> NetworkPass<B> {
    /// The layers of which something is stats, and what.
    fn shown_layers(&self) -> impl Iterator<Item = (usize, SpikeStats)> + '_ {
        let layers = self.stats.iter().copied().enumerate();
        layers.filter(|&(_, show)| show != SpikeStats::Nothing)
    }

    /// The same pass with other tensors.
    pub(crate) fn map<C: Backend>(
        self,
        change: impl Fn(FloatTensor<B>) -> FloatTensor<C>,
    ) -> NetworkPass<C> {
        NetworkPass {
            graph: self.graph,
            neurons: self.neurons,
            weights: self.weights.into_iter().map(&change).collect(),
            input: self.input.map(&change),
            masks: self.masks,
            batch: self.batch,
            steps: self.steps,
            stats: self.stats,
            packed_weights: self.packed_weights,
            precision: self.precision,
        }
    }
}

/// Runs `run` on the numbers of a pass, where they are in host memory.
fn with_args<B: SpikingBackend, R>(
    pass: &NetworkPass<B>,
    run: impl FnOnce(&ForwardArgs<'_>, NetworkInput<&[f32]>) -> R,
) -> Option<R> {
    let input = pass.input.values().clone();
    let tensors: Vec<_> = std::iter::once(input).chain(pass.weights.iter().cloned()).collect();
    let masks: Vec<_> = pass.masks.iter().map(|mask| mask.as_ref().map(Mask::rows)).collect();
    B::on_host(&tensors, |numbers| {
        let args = ForwardArgs {
            graph: &pass.graph,
            neurons: &pass.neurons,
            weights: &numbers[1..],
            masks: &masks,
            batch: pass.batch,
            packed_weights: pass.packed_weights.as_deref(),
            precision: pass.precision,
        };
        let input = pass.input.clone().map(|_| numbers[0]);
        run(&args, input)
    })
}

/// The weights of a graph in the order in which the kernels read them, for passes that share them;
/// `None` where they are not in host memory.
pub fn prepare<B: SpikingBackend>(
    graph: &Graph,
    weights: &[FloatTensor<B>],
    format: WeightFormat,
) -> Option<PackedWeights> {
    B::on_host(weights, |weights| PackedWeights::new(graph, weights, format))
}

/// The results of a pass as tensors.
fn results<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    mut outcome: Outcome,
    device: &B::Device,
) -> Vec<FloatTensor<B>> {
    let readout = Shape::new([pass.batch, pass.graph.classes]);
    let readout = B::from_host(outcome.readout, readout, device);
    let maps = pass.shown_layers().map(|(layer, show)| {
        let lasnn_core::Shape { channels, height, width } = pass.graph.layers[layer].shape;
        let (maps, channels) = match show {
            SpikeStats::Squares => (std::mem::take(&mut outcome.squares[layer]), 1),
            _ => (std::mem::take(&mut outcome.counts[layer]), channels),
        };
        B::from_host(maps, Shape::new([pass.batch, channels, height, width]), device)
    });
    std::iter::once(readout).chain(maps).collect()
}

/// [`SpikingBackend::network`] without gradients.
pub(crate) fn forward<B: SpikingBackend>(pass: &NetworkPass<B>) -> Option<Vec<FloatTensor<B>>> {
    let device = B::float_device(pass.input.values());
    let outcome = with_args::<B, _>(pass, |args, input| {
        args.advance(input, pass.steps, &mut args.rest(), &pass.stats)
    })?;
    Some(results(pass, outcome, &device))
}

/// The same, and where neurons fired, for [`backward`].
pub(crate) fn record<B: SpikingBackend>(
    pass: &NetworkPass<B>,
) -> Option<(Vec<FloatTensor<B>>, Tape)> {
    let device = B::float_device(pass.input.values());
    let (outcome, tape) =
        with_args::<B, _>(pass, |args, input| args.record(input, pass.steps, &pass.stats))?;
    Some((results(pass, outcome, &device), tape))
}

/// The gradients with respect to the input, if it is currents, and to the weights.
pub(crate) type NetworkGradients<B> = (Option<FloatTensor<B>>, Vec<FloatTensor<B>>);

/// The gradients of a recorded pass, given those of its results, as far as a loss depends on them.
pub(crate) fn backward<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    tape: &Tape,
    mut grads: Vec<Option<FloatTensor<B>>>,
) -> Option<NetworkGradients<B>> {
    let device = B::float_device(pass.input.values());
    let which: Vec<bool> = grads.iter().map(Option::is_some).collect();
    let grads: Vec<FloatTensor<B>> = grads.drain(..).flatten().collect();
    let gradients = with_args::<B, _>(pass, |args, _| {
        B::on_host(&grads, |numbers| {
            let mut numbers = numbers.iter().copied();
            let mut all = which.iter().map(|&is_there| is_there.then(|| numbers.next()).flatten());
            let none = vec![0.0; pass.batch * pass.graph.classes];
            let readout = all.next().flatten().unwrap_or(&none);
            let (mut counts, mut squares) =
                (vec![None; pass.stats.len()], vec![None; pass.stats.len()]);
            for ((layer, show), grad) in pass.shown_layers().zip(all) {
                match show {
                    SpikeStats::Squares => squares[layer] = grad,
                    _ => counts[layer] = grad,
                }
            }
            args.backward(tape, OutcomeGrad { readout, counts: &counts, squares: &squares })
        })
    })??;
    let like =
        |numbers: Vec<f32>, tensor: &FloatTensor<B>| B::from_host(numbers, tensor.shape(), &device);
    let input = gradients.currents.map(|numbers| like(numbers, pass.input.values()));
    let weights = gradients.weights.into_iter().zip(&pass.weights);
    Some((input, weights.map(|(numbers, weight)| like(numbers, weight)).collect()))
}

/// Runs the steps of a pass on from `membranes`, or from rest, without gradients and without
/// history. `None` where [`SpikingBackend::network`] would be.
pub fn advance<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    membranes: &mut Option<Membranes>,
) -> Option<Outcome> {
    with_args::<B, _>(pass, |args, input| {
        let membranes = membranes.get_or_insert_with(|| args.rest());
        args.advance(input, pass.steps, membranes, &pass.stats)
    })
}
