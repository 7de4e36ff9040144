//! The hand-written backward pass, for any backend under Burn's autodiff.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorMetadata};

use lasnn_spiking_kernels::Tape;

use crate::backend::SpikingBackend;
use crate::network::{self, NetworkInput, NetworkPass};
use lasnn_core::neuron::NeuronOptions;

/// The step of the graph that a scan leaves.
#[derive(Debug)]
struct Scan;

/// What the backward pass needs; the membrane potentials it computes again.
#[derive(Clone, Debug)]
struct ScanState<T> {
    currents: T,
    threshold: T,
    leak: T,
    options: NeuronOptions,
}

impl<B: SpikingBackend> Backward<B, 1> for Scan {
    type State = ScanState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ScanState { currents, threshold, leak, options } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |output_grad| {
            B::scan_backward(currents, threshold, leak, output_grad, options)
        });
    }
}

impl<B: SpikingBackend, C: CheckpointStrategy> SpikingBackend for Autodiff<B, C> {
    fn scan(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let (threshold, leak) = (threshold.primitive, leak.primitive);
        match Scan.prepare::<C>([currents.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let currents = currents.primitive;
                let spikes = B::scan(currents.clone(), threshold.clone(), leak.clone(), options);
                graph.finish(ScanState { currents, threshold, leak, options }, spikes)
            }
            OpsKind::UnTracked(graph) => {
                graph.finish(B::scan(currents.primitive, threshold, leak, options))
            }
        }
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::scan_backward(
            currents.primitive,
            threshold.primitive,
            leak.primitive,
            output_grad.primitive,
            options,
        ))
    }

    fn advance(
        currents: FloatTensor<Self>,
        membrane: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (spikes, membrane) = B::advance(
            currents.primitive,
            membrane.primitive,
            threshold.primitive,
            leak.primitive,
            options,
        );
        (Self::from_inner(spikes), Self::from_inner(membrane))
    }

    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        let inner: Vec<_> = tensors.iter().map(|tensor| tensor.primitive.clone()).collect();
        B::on_host(&inner, run)
    }

    fn network(pass: NetworkPass<Self>) -> Option<Vec<FloatTensor<Self>>> {
        let (input, weights) = (pass.input.values().clone(), pass.weights.clone());
        let differentiable = matches!(pass.input, NetworkInput::Currents(_));
        let tracked = !input.node.requirement.is_none();
        if weights.len() >= PARENTS || tracked && !differentiable {
            return None;
        }
        // An operation has a fixed number of parents; those that are missing are nobody.
        let nobody = Self::from_inner(input.primitive.clone());
        let parents: [_; PARENTS] = std::array::from_fn(|index| match index {
            0 => input.node.clone(),
            _ => weights.get(index - 1).unwrap_or(&nobody).node.clone(),
        });
        let pass = pass.map(|tensor| tensor.primitive);
        match Network.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let (results, tape) = network::record(&pass)?;
                let grads = Slots::new(results.len());
                let sign = sign::<B>(results.first()?);
                let state = NetworkState { pass, tape: Arc::new(tape), grads: grads.clone() };
                let sign = graph.finish(state, sign);
                let results = results.into_iter().enumerate();
                Some(
                    results
                        .map(|(index, result)| grads.result::<C>(index, result, &sign))
                        .collect(),
                )
            }
            OpsKind::UnTracked(_) => {
                Some(B::network(pass)?.into_iter().map(Self::from_inner).collect())
            }
        }
    }
}

/// How many tensors a network may depend on: its input and its weights.
const PARENTS: usize = 64;

/// The step of the graph that a whole network leaves.
///
/// A step of the graph has one result, a network several. So its result is a sign, a single number, of which
/// the network's results are made by steps of their own: each leaves its gradient in a slot and passes
/// a gradient of the sign on, so that the network's turn comes when all of them are there.
/// Slices of one long result would each be filled up to its length and added.
#[derive(Debug)]
struct Network;

/// What its backward pass needs: where it fired, the weights, and where the gradients will be.
#[derive(Clone, Debug)]
struct NetworkState<B: Backend> {
    pass: NetworkPass<B>,
    tape: Arc<Tape>,
    grads: Slots<B>,
}

impl<B: SpikingBackend> Backward<B, PARENTS> for Network {
    type State = NetworkState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, PARENTS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let NetworkState { pass, tape, grads: slots } = ops.state;
        // It says that all gradients are there, and no more.
        grads.consume::<B>(&ops.node);
        let found = network::backward::<B>(&pass, &tape, slots.take());
        let (input, weights) = found.unwrap_or_default();
        let found = std::iter::once(input).chain(weights.into_iter().map(Some));
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// A number for the graph to pass on, on the device of a tensor.
fn sign<B: Backend>(like: &FloatTensor<B>) -> FloatTensor<B> {
    let (device, dtype) = (B::float_device(like), like.dtype());
    B::float_zeros(Shape::new([1]), &device, dtype.into())
}

/// The gradients of a network's results.
#[derive(Clone, Debug)]
struct Slots<B: Backend>(Arc<Mutex<Vec<Option<FloatTensor<B>>>>>);

impl<B: SpikingBackend> Slots<B> {
    fn new(results: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; results])))
    }

    /// One of the results, made of the sign.
    fn result<C: CheckpointStrategy>(
        &self,
        index: usize,
        result: FloatTensor<B>,
        sign: &FloatTensor<Autodiff<B, C>>,
    ) -> FloatTensor<Autodiff<B, C>> {
        match Part.prepare::<C>([sign.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish((self.clone(), index), result),
            OpsKind::UnTracked(graph) => graph.finish(result),
        }
    }

    /// All gradients that have come.
    fn take(&self) -> Vec<Option<FloatTensor<B>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter_mut().map(Option::take).collect()
    }
}

/// The step of the graph that makes one of the results.
#[derive(Debug)]
struct Part;

impl<B: SpikingBackend> Backward<B, 1> for Part {
    type State = (Slots<B>, usize);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (slots, index) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            let sign = sign::<B>(&grad);
            slots.0.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(grad);
            sign
        });
    }
}
