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

use crate::backend::{ScanGrads, ScanParams, SpikingBackend};
use crate::network::{self, NetworkInput, NetworkPass};

/// The autodiff node of a scan.
#[derive(Debug)]
struct ScanBackward;

/// The values that the backward pass of a scan needs. It computes the membrane potentials again.
#[derive(Clone, Debug)]
struct ScanState<T> {
    currents: T,
    params: ScanParams<T>,
    options: NeuronOptions,
}

impl<B: SpikingBackend> Backward<B, 4> for ScanBackward {
    type State = ScanState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ScanState { currents, params, options } = ops.state;
        let output_grad = grads.consume::<B>(&ops.node);
        let [of_currents, of_params @ ..] = ops.parents;
        let with_params = of_params.iter().any(Option::is_some);
        let shapes = [&params.membrane, &params.threshold, &params.leak].map(|p| p.shape());
        let found = B::scan_backward(currents, params, output_grad, (options, with_params));
        if let Some(parent) = of_currents {
            grads.register::<B>(parent.id, found.currents);
        }
        let Some(ScanParams { membrane, threshold, leak }) = found.params else { return };
        let found = [membrane, threshold, leak].into_iter().zip(shapes);
        for (parent, (gradient, shape)) in of_params.into_iter().zip(found) {
            if let Some(parent) = parent {
                // A parameter that all neurons share gets the sum of their gradients.
                let is_shared = shape.num_elements() == 1;
                let gradient = if is_shared { B::float_sum_dim(gradient, 0) } else { gradient };
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: SpikingBackend, C: CheckpointStrategy> SpikingBackend for Autodiff<B, C> {
    fn scan(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> FloatTensor<Self> {
        let parents = [&currents, &params.membrane, &params.threshold, &params.leak];
        let parents = parents.map(|tensor| tensor.node.clone());
        // Only one field of each parent is moved. The others, which tell Burn that the parent is in
        // use, live until the new node is registered (ARCHITECTURE.md, section on Burn).
        let ScanParams { membrane, threshold, leak } = params;
        let (membrane, threshold) = (membrane.primitive, threshold.primitive);
        let params = ScanParams { membrane, threshold, leak: leak.primitive };
        let currents = currents.primitive;
        match ScanBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let spikes = B::scan(currents.clone(), params.clone(), options);
                graph.finish(ScanState { currents, params, options }, spikes)
            }
            OpsKind::UnTracked(graph) => graph.finish(B::scan(currents, params, options)),
        }
    }

    fn scan_backward(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        options: (NeuronOptions, bool),
    ) -> ScanGrads<FloatTensor<Self>> {
        let params = params.map(|tensor| tensor.primitive);
        let ScanGrads { currents, params } =
            B::scan_backward(currents.primitive, params, output_grad.primitive, options);
        let params = params.map(|params| params.map(Self::from_inner));
        ScanGrads { currents: Self::from_inner(currents), params }
    }

    fn advance(
        currents: FloatTensor<Self>,
        params: ScanParams<FloatTensor<Self>>,
        options: NeuronOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let params = params.map(|tensor| tensor.primitive);
        let (spikes, membrane) = B::advance(currents.primitive, params, options);
        (Self::from_inner(spikes), Self::from_inner(membrane))
    }

    fn on_host<R>(tensors: &[FloatTensor<Self>], run: impl FnOnce(&[&[f32]]) -> R) -> Option<R> {
        let inner: Vec<_> = tensors.iter().map(|tensor| tensor.primitive.clone()).collect();
        B::on_host(&inner, run)
    }

    fn network(pass: NetworkPass<Self>) -> Option<Vec<FloatTensor<Self>>> {
        let input = pass.input.values().clone();
        let differentiable = matches!(pass.input, NetworkInput::Currents(_));
        if !input.node.requirement.is_none() && !differentiable {
            return None;
        }
        if !pass.neurons.iter().copied().all(network::has_backward) {
            return None;
        }
        let is_trained = |param: &FloatTensor<Self>| !param.node.requirement.is_none();
        let trained: Vec<bool> = pass.params.iter().map(is_trained).collect();
        let inputs: Vec<FloatTensor<Self>> =
            std::iter::once(input).chain(pass.params.iter().cloned()).collect();
        let input_grads = Slots::new(inputs.len());
        let gathered = gather::<B, C>(&inputs, &input_grads);
        let mut pass = pass.map(|tensor| tensor.primitive);
        pass.trained = trained.into();
        match NetworkBackward.prepare::<C>([gathered.node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let (results, tape) = network::record(&pass)?;
                let grads = Slots::new(results.len());
                let token = token::<B>(results.first()?);
                let tape = Arc::new(tape);
                let state = NetworkState { pass, tape, grads: grads.clone(), input_grads };
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

/// The number of parents of a node that gathers tensors. Burn fixes it when it is compiled.
const PARENTS: usize = 32;

/// The autodiff node of a whole network.
///
/// A node of Burn's graph has one result and a fixed number of parents, but a network has several
/// results and any number of parameters. Tokens, tensors with one element and no meaning, connect
/// them:
///
/// - Nodes that gather ([`GatherBackward`]) have the input and the parameters as parents. Each has
///   a token as its result, which is a parent of the next one. The last token is the parent of the
///   network's node.
/// - The result of the network's node is a token. Each result of the network gets a node of its own
///   ([`ResultBackward`]) whose parent is that token.
///
/// In the backward pass, the nodes of the results store their gradients in slots. Then the node of
/// the network takes them, and stores the gradients of its inputs in other slots, from which the
/// nodes that gather take them.
///
/// The alternative, slices of one long result, costs more: Burn would pad the gradient of each
/// slice to the full length and add them up.
#[derive(Debug)]
struct NetworkBackward;

/// The values that the backward pass of a network needs: its arguments, the recorded spikes, and
/// the slots of the gradients of its results and of its inputs.
#[derive(Clone, Debug)]
struct NetworkState<B: Backend> {
    pass: NetworkPass<B>,
    tape: Arc<Tape>,
    grads: Slots<B>,
    input_grads: Slots<B>,
}

impl<B: SpikingBackend> Backward<B, 1> for NetworkBackward {
    type State = NetworkState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let NetworkState { pass, tape, grads: slots, input_grads } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |token_grad| {
            let (input, params) =
                network::backward::<B>(&pass, &tape, slots.take()).unwrap_or_default();
            input_grads.put(std::iter::once(input).chain(params).collect());
            token_grad
        });
    }
}

/// A token that depends on all tensors. In the backward pass, `slots` has their gradients.
fn gather<B: SpikingBackend, C: CheckpointStrategy>(
    tensors: &[FloatTensor<Autodiff<B, C>>],
    slots: &Slots<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let value = || token::<B>(&tensors[0].primitive);
    let mut last = Autodiff::<B, C>::from_inner(value());
    for (index, tensors) in tensors.chunks(PARENTS - 1).enumerate() {
        // Tokens that depend on nothing fill up the list of parents.
        let filler = Autodiff::<B, C>::from_inner(value());
        let parents = std::array::from_fn::<_, PARENTS, _>(|parent| match parent {
            0 => last.node.clone(),
            _ => tensors.get(parent - 1).unwrap_or(&filler).node.clone(),
        });
        let first = index * (PARENTS - 1);
        last = match GatherBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish((slots.clone(), first), value()),
            OpsKind::UnTracked(graph) => graph.finish(value()),
        };
    }
    last
}

/// The autodiff node of a token that depends on some tensors.
#[derive(Debug)]
struct GatherBackward;

impl<B: SpikingBackend> Backward<B, PARENTS> for GatherBackward {
    /// The slots of the gradients, and the first slot of this node.
    type State = (Slots<B>, usize);

    fn backward(
        self,
        ops: Ops<Self::State, PARENTS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (slots, first) = ops.state;
        let token_grad = grads.consume::<B>(&ops.node);
        let [last, tensors @ ..] = ops.parents;
        if let Some(last) = last {
            grads.register::<B>(last.id, token_grad);
        }
        for (index, parent) in tensors.into_iter().enumerate() {
            if let Some(parent) = parent
                && let Some(gradient) = slots.take_one(first + index)
            {
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

    /// Fills all slots.
    fn put(&self, gradients: Vec<Option<FloatTensor<B>>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = gradients;
    }

    /// Takes one gradient out of its slot.
    fn take_one(&self, index: usize) -> Option<FloatTensor<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)?.take()
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
