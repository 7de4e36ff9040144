//! Hand-written backward passes for any backend under Burn's autodiff.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorMetadata};
use lasnn_core::neuron::NeuronOptions;
use lasnn_spiking_kernels::Tape;

use crate::backend::SpikingBackend;
use crate::network::{self, NetworkInput, NetworkPass};

/// The autodiff node of a scan.
#[derive(Debug)]
struct ScanBackward;

/// The values that the backward pass of a scan needs. It computes the membrane potentials again.
#[derive(Clone, Debug)]
struct ScanState<T> {
    currents: T,
    threshold: T,
    leak: T,
    options: NeuronOptions,
}

impl<B: SpikingBackend> Backward<B, 1> for ScanBackward {
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
        match ScanBackward.prepare::<C>([currents.node.clone()]).compute_bound().stateful() {
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
        // A node has a fixed number of parents; untracked ones fill up the list.
        let untracked = Self::from_inner(input.primitive.clone());
        let parents: [_; PARENTS] = std::array::from_fn(|index| match index {
            0 => input.node.clone(),
            _ => weights.get(index - 1).unwrap_or(&untracked).node.clone(),
        });
        let pass = pass.map(|tensor| tensor.primitive);
        match NetworkBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let (results, tape) = network::record(&pass)?;
                let grads = Slots::new(results.len());
                let token = token::<B>(results.first()?);
                let state = NetworkState { pass, tape: Arc::new(tape), grads: grads.clone() };
                let token = graph.finish(state, token);
                let results = results.into_iter().enumerate();
                Some(
                    results
                        .map(|(index, result)| grads.result::<C>(index, result, &token))
                        .collect(),
                )
            }
            OpsKind::UnTracked(_) => {
                Some(B::network(pass)?.into_iter().map(Self::from_inner).collect())
            }
        }
    }
}

/// The maximum number of tensors that a network depends on: its input and its weights.
const PARENTS: usize = 64;

/// The autodiff node of a whole network.
///
/// A node of Burn's graph has one result, but a network has several. The result of this node is
/// therefore a token, a tensor with one element. Each result of the network gets a node of its own
/// ([`ResultBackward`]) whose parent is the token. In the backward pass, such a node stores its
/// gradient in a slot and passes a gradient to the token. The backward pass of the network runs
/// after all of them and takes the gradients from the slots.
///
/// The alternative, slices of one long result, costs more: Burn would pad the gradient of each
/// slice to the full length and add them up.
#[derive(Debug)]
struct NetworkBackward;

/// The values that the backward pass of a network needs: its arguments, the recorded spikes, and
/// the slots of the gradients.
#[derive(Clone, Debug)]
struct NetworkState<B: Backend> {
    pass: NetworkPass<B>,
    tape: Arc<Tape>,
    grads: Slots<B>,
}

impl<B: SpikingBackend> Backward<B, PARENTS> for NetworkBackward {
    type State = NetworkState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, PARENTS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let NetworkState { pass, tape, grads: slots } = ops.state;
        // The value of the token's gradient has no meaning.
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

/// A token, or its gradient, on the device of a tensor.
fn token<B: Backend>(like: &FloatTensor<B>) -> FloatTensor<B> {
    let (device, dtype) = (B::float_device(like), like.dtype());
    B::float_zeros(Shape::new([1]), &device, dtype.into())
}

/// The gradients with respect to the results of a network; `None` until the backward pass of the
/// result has run.
#[derive(Clone, Debug)]
struct Slots<B: Backend>(Arc<Mutex<Vec<Option<FloatTensor<B>>>>>);

impl<B: SpikingBackend> Slots<B> {
    fn new(results: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; results])))
    }

    /// A result of the network as a tracked tensor with the token as its parent.
    fn result<C: CheckpointStrategy>(
        &self,
        index: usize,
        result: FloatTensor<B>,
        token: &FloatTensor<Autodiff<B, C>>,
    ) -> FloatTensor<Autodiff<B, C>> {
        match ResultBackward.prepare::<C>([token.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish((self.clone(), index), result),
            OpsKind::UnTracked(graph) => graph.finish(result),
        }
    }

    /// Takes all gradients out of the slots.
    fn take(&self) -> Vec<Option<FloatTensor<B>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter_mut().map(Option::take).collect()
    }
}

/// The autodiff node of one result of a network.
#[derive(Debug)]
struct ResultBackward;

impl<B: SpikingBackend> Backward<B, 1> for ResultBackward {
    type State = (Slots<B>, usize);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (slots, index) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            let token = token::<B>(&grad);
            slots.0.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(grad);
            token
        });
    }
}
