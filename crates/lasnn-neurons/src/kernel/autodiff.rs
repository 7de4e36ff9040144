//! The hand-written backward pass, for any backend under Burn's autodiff.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;

use lasnn_kernels::spiking::Tape;

use crate::backend::SpikingBackend;
use crate::network::{self, NetworkInput, NetworkPass};
use crate::neuron::Dynamics;

/// The step of the graph that a scan leaves.
#[derive(Debug)]
struct Scan;

/// What the backward pass needs; the membrane potentials it computes again.
#[derive(Clone, Debug)]
struct ScanState<T> {
    currents: T,
    threshold: T,
    leak: T,
    dynamics: Dynamics,
}

impl<B: SpikingBackend> Backward<B, 1> for Scan {
    type State = ScanState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ScanState { currents, threshold, leak, dynamics } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |output_grad| {
            B::scan_backward(currents, threshold, leak, output_grad, dynamics)
        });
    }
}

impl<B: SpikingBackend, C: CheckpointStrategy> SpikingBackend for Autodiff<B, C> {
    fn scan(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        dynamics: Dynamics,
    ) -> FloatTensor<Self> {
        let (threshold, leak) = (threshold.primitive, leak.primitive);
        match Scan.prepare::<C>([currents.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let currents = currents.primitive;
                let spikes = B::scan(currents.clone(), threshold.clone(), leak.clone(), dynamics);
                graph.finish(ScanState { currents, threshold, leak, dynamics }, spikes)
            }
            OpsKind::UnTracked(graph) => {
                graph.finish(B::scan(currents.primitive, threshold, leak, dynamics))
            }
        }
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        dynamics: Dynamics,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::scan_backward(
            currents.primitive,
            threshold.primitive,
            leak.primitive,
            output_grad.primitive,
            dynamics,
        ))
    }

    fn advance(
        currents: FloatTensor<Self>,
        membrane: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        leak: FloatTensor<Self>,
        dynamics: Dynamics,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (spikes, membrane) = B::advance(
            currents.primitive,
            membrane.primitive,
            threshold.primitive,
            leak.primitive,
            dynamics,
        );
        (Self::from_inner(spikes), Self::from_inner(membrane))
    }

    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        let inner: Vec<_> = tensors.iter().map(|tensor| tensor.primitive.clone()).collect();
        B::on_host(&inner, run)
    }

    fn network(pass: NetworkPass<Self>) -> Option<FloatTensor<Self>> {
        let (input, weights) = (pass.input.tensor().clone(), pass.weights.clone());
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
                let (output, tape) = network::record(&pass)?;
                Some(graph.finish(NetworkState { pass, tape: Arc::new(tape) }, output))
            }
            OpsKind::UnTracked(graph) => Some(graph.finish(B::network(pass)?)),
        }
    }
}

/// How many tensors a network may depend on: its input and its weights.
const PARENTS: usize = 64;

/// The step of the graph that a whole network leaves.
#[derive(Debug)]
struct Network;

/// What its backward pass needs: where it fired, and the weights.
#[derive(Clone, Debug)]
struct NetworkState<B: Backend> {
    pass: NetworkPass<B>,
    tape: Arc<Tape>,
}

impl<B: SpikingBackend> Backward<B, PARENTS> for Network {
    type State = NetworkState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, PARENTS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let NetworkState { pass, tape } = ops.state;
        let output_grad = grads.consume::<B>(&ops.node);
        let found = network::backward::<B>(&pass, &tape, output_grad);
        let (input, weights) = found.unwrap_or_default();
        let found = std::iter::once(input).chain(weights.into_iter().map(Some));
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
