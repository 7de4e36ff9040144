//! The hand-written backward pass, for any backend under Burn's autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use crate::backend::SpikingBackend;
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
}
