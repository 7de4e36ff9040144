//! A whole spiking network as one operation.
//!
//! The operations of a tensor library exchange dense tensors of floats. A network that is a single
//! operation stores its spikes in one bit each and computes only where neurons fire. It returns
//! only the values that a loss needs: the readout and, on request, spike counts.
//!
//! The kernels are in [`lasnn_spiking_kernels`]. They run on backends with tensors in host
//! memory, see [`SpikingBackend::network`].

use std::sync::Arc;

use burn::tensor::{Shape, TensorMetadata, backend::Backend, ops::FloatTensor};
use lasnn_core::{Mask, Precision, Trace};
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, LayerProbes, Membranes, Outcome, OutcomeGrad, PackedWeights, SpikeStats,
    Tape, WeightFormat,
};

use lasnn_core::neuron::NeuronOptions;
pub use lasnn_spiking_kernels::NetworkInput;

use crate::backend::SpikingBackend;

/// The arguments of one pass of a spiking network.
#[derive(Clone, Debug)]
pub struct NetworkPass<B: Backend> {
    /// The layers of neurons and the projections between them. The graph must have passed its
    /// check.
    pub graph: Arc<Graph>,
    /// The options of the neurons of each layer.
    pub neurons: Arc<[NeuronOptions]>,
    /// The parameters that the graph names, in the shapes that it expects.
    pub params: Vec<FloatTensor<B>>,
    /// By parameter: whether the backward pass computes its gradient. On an autodiff backend, the
    /// tensors tell it, and this field is not read.
    pub trained: Arc<[bool]>,
    /// The input of the first layer of neurons.
    pub input: NetworkInput<FloatTensor<B>>,
    /// The dropout masks that the graph refers to, each with a row `[channels, height, width]` for
    /// each image.
    pub masks: Arc<[Option<Mask>]>,
    /// The number of images.
    pub batch: usize,
    /// The number of time steps.
    pub steps: usize,
    /// The values that the pass returns beside the readout.
    pub probes: Arc<NetworkProbes>,
    /// The weights packed by [`prepare`]; `None` if the pass packs them itself.
    pub packed_weights: Option<Arc<PackedWeights>>,
    /// The number format of a differentiable pass and its backward pass, see
    /// [`ForwardArgs::precision`].
    pub precision: Precision,
}

/// The values that a pass returns beside the readout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkProbes {
    /// Whether the pass returns the currents into the readout at each step.
    pub by_step: bool,
    /// By layer: the statistic of its spikes. It has an entry for each layer.
    pub stats: Vec<SpikeStats>,
    /// The layers whose spike activation maps the pass returns.
    pub activation_maps: Vec<(usize, Trace)>,
    /// The layers whose membrane potentials the pass returns.
    pub membranes: Vec<usize>,
}

impl NetworkProbes {
    /// What the kernels compute of the layers.
    fn of_layers(&self) -> LayerProbes<'_> {
        LayerProbes { stats: &self.stats, membranes: &self.membranes }
    }

    /// The indices and the statistics of the layers whose statistics are not `Nothing`.
    fn layers_with_stats(&self) -> impl Iterator<Item = (usize, SpikeStats)> + '_ {
        let layers = self.stats.iter().copied().enumerate();
        layers.filter(|&(_, stats)| stats != SpikeStats::Nothing)
    }
}

impl<B: Backend> NetworkPass<B> {
    /// This pass with the tensors of another backend.
    pub(crate) fn map<C: Backend>(
        self,
        change: impl Fn(FloatTensor<B>) -> FloatTensor<C>,
    ) -> NetworkPass<C> {
        NetworkPass {
            graph: self.graph,
            neurons: self.neurons,
            params: self.params.into_iter().map(&change).collect(),
            trained: self.trained,
            input: self.input.map(&change),
            masks: self.masks,
            batch: self.batch,
            steps: self.steps,
            probes: self.probes,
            packed_weights: self.packed_weights,
            precision: self.precision,
        }
    }
}

/// Calls `run` with the kernels' arguments of a pass; `None` if the tensors are not in host memory.
fn with_args<B: SpikingBackend, R>(
    pass: &NetworkPass<B>,
    run: impl FnOnce(&ForwardArgs<'_>, NetworkInput<&[f32]>) -> R,
) -> Option<R> {
    let input = pass.input.values().clone();
    let tensors: Vec<_> = std::iter::once(input).chain(pass.params.iter().cloned()).collect();
    let masks: Vec<_> = pass.masks.iter().map(|mask| mask.as_ref().map(Mask::rows)).collect();
    B::on_host(&tensors, |values| {
        let args = ForwardArgs {
            graph: &pass.graph,
            neurons: &pass.neurons,
            params: &values[1..],
            trained: &pass.trained,
            masks: &masks,
            batch: pass.batch,
            packed_weights: pass.packed_weights.as_deref(),
            precision: pass.precision,
        };
        let input = pass.input.clone().map(|_| values[0]);
        run(&args, input)
    })
}

/// Packs the weights of a graph in the order in which the kernels read them, so that several passes
/// can share them. `None` if the parameters are not in host memory.
pub fn prepare<B: SpikingBackend>(
    graph: &Graph,
    params: &[FloatTensor<B>],
    format: WeightFormat,
) -> Option<PackedWeights> {
    B::on_host(params, |params| PackedWeights::new(graph, params, format))
}

/// The results of a pass as tensors, in the order of [`SpikingBackend::network`].
fn results<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    (mut outcome, tape): (Outcome, Option<&Tape>),
    device: &B::Device,
) -> Vec<FloatTensor<B>> {
    let shape = Shape::new([pass.batch, pass.graph.classes]);
    let readout = B::from_host(outcome.readout, shape, device);
    let by_step = pass.probes.by_step.then(|| {
        let shape = Shape::new([pass.steps, pass.batch, pass.graph.classes]);
        B::from_host(outcome.by_step, shape, device)
    });
    let maps = pass.probes.activation_maps.iter().filter_map(|&(layer, trace)| {
        let lasnn_core::Shape { height, width, .. } = pass.graph.layers[layer].shape;
        let shape = Shape::new([pass.steps, pass.batch, height, width]);
        Some(B::from_host(tape?.activation_map(layer, trace), shape, device))
    });
    let statistics = pass.probes.layers_with_stats().map(|(layer, stats)| {
        let lasnn_core::Shape { channels, height, width } = pass.graph.layers[layer].shape;
        let (values, channels) = match stats {
            SpikeStats::Squares => (std::mem::take(&mut outcome.squares[layer]), 1),
            _ => (std::mem::take(&mut outcome.counts[layer]), channels),
        };
        B::from_host(values, Shape::new([pass.batch, channels, height, width]), device)
    });
    let mut results: Vec<_> =
        std::iter::once(readout).chain(by_step).chain(statistics).chain(maps).collect();
    for &layer in &pass.probes.membranes {
        let lasnn_core::Shape { channels, height, width } = pass.graph.layers[layer].shape;
        let shape = Shape::new([pass.steps, pass.batch, channels, height, width]);
        let membranes = std::mem::take(&mut outcome.membranes[layer]);
        results.push(B::from_host(membranes, shape, device));
    }
    results
}

/// [`SpikingBackend::network`] without gradients.
pub(crate) fn forward<B: SpikingBackend>(pass: &NetworkPass<B>) -> Option<Vec<FloatTensor<B>>> {
    let device = B::float_device(pass.input.values());
    if !pass.probes.activation_maps.is_empty() {
        return Some(record(pass)?.0);
    }
    let outcome = with_args::<B, _>(pass, |args, input| {
        args.advance(input, pass.steps, &mut args.start(), pass.probes.of_layers())
    })?;
    Some(results(pass, (outcome, None), &device))
}

/// Whether the kernels for whole networks have the backward pass of neurons. Without it, a network
/// is trained layer by layer, and is measured like any other.
pub fn has_backward(neurons: NeuronOptions) -> bool {
    neurons.surrogate.follows_from_z()
}

/// [`SpikingBackend::network`] with a tape for [`backward`].
pub(crate) fn record<B: SpikingBackend>(
    pass: &NetworkPass<B>,
) -> Option<(Vec<FloatTensor<B>>, Tape)> {
    let device = B::float_device(pass.input.values());
    let (outcome, tape) = with_args::<B, _>(pass, |args, input| {
        args.record(input, pass.steps, pass.probes.of_layers())
    })?;
    Some((results(pass, (outcome, Some(&tape)), &device), tape))
}

/// The gradients with respect to the input, if the input is currents, and to the parameters, if
/// they are trained.
pub(crate) type NetworkGradients<B> = (Option<FloatTensor<B>>, Vec<Option<FloatTensor<B>>>);

/// The backward pass of [`record`]. `grads` are the gradients with respect to its results, `None`
/// for results on which the loss does not depend.
pub(crate) fn backward<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    tape: &Tape,
    mut grads: Vec<Option<FloatTensor<B>>>,
) -> Option<NetworkGradients<B>> {
    let device = B::float_device(pass.input.values());
    let has_grad: Vec<bool> = grads.iter().map(Option::is_some).collect();
    let grads: Vec<FloatTensor<B>> = grads.drain(..).flatten().collect();
    let gradients = with_args::<B, _>(pass, |args, _| {
        B::on_host(&grads, |values| {
            let mut values = values.iter().copied();
            let mut grads = has_grad.iter().map(|&has| has.then(|| values.next()).flatten());
            let zeros = vec![0.0; pass.batch * pass.graph.classes];
            let readout = grads.next().flatten().unwrap_or(&zeros);
            let by_step = if pass.probes.by_step { grads.next().flatten() } else { None };
            let layers = pass.graph.layers.len();
            let (mut counts, mut squares) = (vec![None; layers], vec![None; layers]);
            let (mut activation_maps, mut membranes) = (vec![None; layers], vec![None; layers]);
            for (layer, stats) in pass.probes.layers_with_stats() {
                match stats {
                    SpikeStats::Squares => squares[layer] = grads.next().flatten(),
                    _ => counts[layer] = grads.next().flatten(),
                }
            }
            for &(layer, trace) in &pass.probes.activation_maps {
                activation_maps[layer] = grads.next().flatten().map(|grad| (trace, grad));
            }
            for &layer in &pass.probes.membranes {
                membranes[layer] = grads.next().flatten();
            }
            let grad = OutcomeGrad {
                readout,
                by_step,
                counts: &counts,
                squares: &squares,
                activation_maps: &activation_maps,
                membranes: &membranes,
            };
            args.backward(tape, grad)
        })
    })??;
    let tensor_like =
        |values: Vec<f32>, tensor: &FloatTensor<B>| B::from_host(values, tensor.shape(), &device);
    let input = gradients.currents.map(|values| tensor_like(values, pass.input.values()));
    let params = gradients.params.into_iter().zip(&pass.params);
    let params = params.map(|(values, param)| {
        // There are no values for a parameter that is not trained.
        (!values.is_empty()).then(|| tensor_like(values, param))
    });
    Some((input, params.collect()))
}

/// Runs the steps of a pass from the given membrane potentials, or from the initial ones, and
/// updates the membrane potentials. Nothing is recorded for gradients. `None` on backends on which
/// [`SpikingBackend::network`] returns `None`.
pub fn advance<B: SpikingBackend>(
    pass: &NetworkPass<B>,
    membranes: &mut Option<Membranes>,
) -> Option<Outcome> {
    with_args::<B, _>(pass, |args, input| {
        let membranes = membranes.get_or_insert_with(|| args.start());
        args.advance(input, pass.steps, membranes, pass.probes.of_layers())
    })
}
