//! The hand-written backward passes, for any backend under Burn's autodiff.
//!
//! A gradient that nobody asks for is not computed: images have none, and the first convolution's
//! would cost as much as its forward pass.

mod conv_batch_norm;

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::ops::FloatTensor;
use lasnn_core::{Mask, Precision};

use crate::backend::{Convolution, DenseBackend, Normalised, from_primitive, into_primitive};
use crate::conv_batch_norm::{ConvolutionInputs, NormalisedConvolution};

/// What the backward pass of a convolution or a linear layer needs.
#[derive(Clone, Debug)]
struct Weighted<T> {
    input: T,
    weights: T,
    /// Where it was rectified.
    output: Option<T>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Convolution(Convolution),
    Linear(Precision),
}

/// The step of the graph that a convolution or a linear layer leaves. Its parents are input, weights
/// and, if `N` is 3, the bias.
#[derive(Debug)]
struct WeightedStep;

impl<B: DenseBackend, const N: usize> Backward<B, N> for WeightedStep {
    type State = Weighted<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let Weighted { input, weights, output, kind } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let grad = match output {
            Some(output) => B::relu_grad(output, grad),
            None => grad,
        };
        let mut parents = ops.parents.into_iter();
        let mut next = || parents.next().flatten();
        let (input_node, weights_node, bias_node) = (next(), next(), next());
        if let Some(node) = bias_node {
            let bias_grad = match kind {
                Kind::Convolution(_) => B::channel_sums(grad.clone()),
                Kind::Linear(_) => row_sum::<B>(grad.clone()),
            };
            grads.register::<B>(node.id, bias_grad);
        }
        if let Some(node) = weights_node {
            let (input, grad) = (input.clone(), grad.clone());
            let weights_grad = match kind {
                Kind::Convolution(conv) => {
                    B::conv2d_weight_grad(input, weights.clone(), grad, conv)
                }
                Kind::Linear(precision) => B::linear_weight_grad(input, grad, precision),
            };
            grads.register::<B>(node.id, weights_grad);
        }
        if let Some(node) = input_node {
            let input_grad = match kind {
                Kind::Convolution(conv) => B::conv2d_input_grad(input, weights, grad, conv),
                Kind::Linear(precision) => B::linear_input_grad(weights, grad, precision),
            };
            grads.register::<B>(node.id, input_grad);
        }
    }
}

/// The sum of the rows, the gradient of a linear layer's bias.
fn row_sum<B: DenseBackend>(grad: FloatTensor<B>) -> FloatTensor<B> {
    let grad = from_primitive::<B, 2>(grad);
    let [_, outputs] = grad.dims();
    into_primitive(grad.sum_dim(0).reshape([outputs]))
}

/// Computes a convolution or a linear layer, and leaves its step if it is tracked.
fn weighted<B: DenseBackend, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    weights: FloatTensor<Autodiff<B, C>>,
    bias: Option<FloatTensor<Autodiff<B, C>>>,
    kind: Kind,
    relu: bool,
) -> FloatTensor<Autodiff<B, C>> {
    let bias_primitive = bias.as_ref().map(|bias| bias.primitive.clone());
    let (values, kernel) = (input.primitive.clone(), weights.primitive.clone());
    let (given, taken) = (values.clone(), kernel.clone());
    let output = match kind {
        Kind::Convolution(conv) => B::conv2d_bias_relu(given, taken, bias_primitive, conv, relu),
        Kind::Linear(precision) => {
            B::linear_bias_relu(given, taken, bias_primitive, precision, relu)
        }
    };
    let relu_grad = relu.then(|| output.clone());
    let state = Weighted { input: values, weights: kernel, output: relu_grad, kind };
    match bias {
        Some(bias) => step::<B, C, 3>([input, weights, bias], state, output),
        None => step::<B, C, 2>([input, weights], state, output),
    }
}

fn step<B: DenseBackend, C: CheckpointStrategy, const N: usize>(
    parents: [FloatTensor<Autodiff<B, C>>; N],
    state: Weighted<FloatTensor<B>>,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = parents.map(|parent| parent.node);
    match Backward::<B, N>::prepare::<C>(WeightedStep, nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(state, output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    }
}

/// The step of a rectified sum, which hands the same gradient to both parents.
#[derive(Debug)]
struct RectifiedSumStep;

impl<B: DenseBackend> Backward<B, 2> for RectifiedSumStep {
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = B::relu_grad(ops.state, grads.consume::<B>(&ops.node));
        for node in ops.parents.into_iter().flatten() {
            grads.register::<B>(node.id, grad.clone());
        }
    }
}

/// The step of a mask, which is its state.
#[derive(Debug)]
struct MaskedStep;

impl<B: DenseBackend> Backward<B, 1> for MaskedStep {
    type State = Arc<Mask>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let mask = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::masked(grad, &mask));
    }
}

/// The step of a pooling.
#[derive(Debug)]
struct PoolStep;

#[derive(Clone, Debug)]
struct PoolState<T> {
    input: T,
    size: usize,
    maximum: bool,
}

impl<B: DenseBackend> Backward<B, 1> for PoolStep {
    type State = PoolState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let PoolState { input, size, maximum } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| match maximum {
            true => B::maximum_pool_backward(input, grad, size),
            false => B::average_pool_backward(input, grad, size),
        });
    }
}

fn pool<B: DenseBackend, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    size: usize,
    maximum: bool,
) -> FloatTensor<Autodiff<B, C>> {
    let node = input.node.clone();
    let input = input.primitive;
    let output = match maximum {
        true => B::maximum_pool(input.clone(), size),
        false => B::average_pool(input.clone(), size),
    };
    match PoolStep.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(PoolState { input, size, maximum }, output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    }
}

impl<B: DenseBackend, C: CheckpointStrategy> DenseBackend for Autodiff<B, C> {
    fn conv2d_bias_relu(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        convolution: Convolution,
        relu: bool,
    ) -> FloatTensor<Self> {
        weighted::<B, C>(input, weights, bias, Kind::Convolution(convolution), relu)
    }

    fn linear_bias_relu(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        precision: Precision,
        relu: bool,
    ) -> FloatTensor<Self> {
        weighted::<B, C>(input, weights, bias, Kind::Linear(precision), relu)
    }

    fn batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> Normalised<FloatTensor<Self>> {
        conv_batch_norm::batch_norm::<B, C>([input, gamma, beta], epsilon, relu)
    }

    fn conv2d_batch_norm(
        inputs: ConvolutionInputs<FloatTensor<Self>>,
        layer: NormalisedConvolution,
    ) -> (Normalised<FloatTensor<Self>>, FloatTensor<Self>) {
        conv_batch_norm::conv2d_batch_norm::<B, C>(inputs, layer)
    }

    fn rectified_sum(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::rectified_sum(a.primitive, b.primitive);
        match RectifiedSumStep.prepare::<C>([a.node, b.node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish(output.clone(), output),
            OpsKind::UnTracked(graph) => graph.finish(output),
        }
    }

    fn masked(map: FloatTensor<Self>, mask: &Arc<Mask>) -> FloatTensor<Self> {
        let output = B::masked(map.primitive, mask);
        match MaskedStep.prepare::<C>([map.node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish(mask.clone(), output),
            OpsKind::UnTracked(graph) => graph.finish(output),
        }
    }

    fn average_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        pool::<B, C>(input, size, false)
    }

    fn maximum_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        pool::<B, C>(input, size, true)
    }
}
