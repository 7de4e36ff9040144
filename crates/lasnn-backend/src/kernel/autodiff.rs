//! Hand-written backward passes for any backend under Burn's autodiff.
//!
//! Gradients are computed for tracked parents only. Images are not tracked, and the input gradient
//! of the first convolution would cost as much as its forward pass.

mod conv_batch_norm;

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::ops::FloatTensor;
use lasnn_core::{Mask, Precision};

use crate::backend::{BatchNormOutput, Convolution, DenseBackend, from_primitive, into_primitive};
use crate::conv_batch_norm::{ConvBatchNorm, ConvBatchNormInputs};
use crate::reference;

/// The values that the backward pass of a convolution or a linear layer needs.
#[derive(Clone, Debug)]
struct SavedLayer<T> {
    input: T,
    weights: T,
    /// The output, if the layer has a ReLU.
    relu_output: Option<T>,
    kind: LayerKind,
}

/// The options of the layer.
#[derive(Clone, Copy, Debug)]
enum LayerKind {
    Convolution(Convolution),
    Linear(Precision),
}

/// The autodiff node of a convolution or a linear layer. Its parents are the input, the weights
/// and, if `N` is 3, the bias.
#[derive(Debug)]
struct LayerBackward;

impl<B: DenseBackend, const N: usize> Backward<B, N> for LayerBackward {
    type State = SavedLayer<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let SavedLayer { input, weights, relu_output, kind } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let grad = match relu_output {
            Some(output) => B::relu_grad(output, grad),
            None => grad,
        };
        let mut parents = ops.parents.into_iter();
        let mut next = || parents.next().flatten();
        let (input_node, weights_node, bias_node) = (next(), next(), next());
        if let Some(node) = bias_node {
            let bias_grad = match kind {
                LayerKind::Convolution(_) => B::channel_sums(grad.clone()),
                LayerKind::Linear(_) => row_sum::<B>(grad.clone()),
            };
            grads.register::<B>(node.id, bias_grad);
        }
        if let Some(node) = weights_node {
            let (input, grad) = (input.clone(), grad.clone());
            let weights_grad = match kind {
                LayerKind::Convolution(conv) => {
                    B::conv2d_weight_grad(input, weights.clone(), grad, conv)
                }
                LayerKind::Linear(precision) => B::linear_weight_grad(input, grad, precision),
            };
            grads.register::<B>(node.id, weights_grad);
        }
        if let Some(node) = input_node {
            let input_grad = match kind {
                LayerKind::Convolution(conv) => B::conv2d_input_grad(input, weights, grad, conv),
                LayerKind::Linear(precision) => B::linear_input_grad(weights, grad, precision),
            };
            grads.register::<B>(node.id, input_grad);
        }
    }
}

/// The sum of the rows: the gradient with respect to the bias of a linear layer.
fn row_sum<B: DenseBackend>(grad: FloatTensor<B>) -> FloatTensor<B> {
    let grad = from_primitive::<B, 2>(grad);
    let [_, outputs] = grad.dims();
    into_primitive(grad.sum_dim(0).reshape([outputs]))
}

/// Computes a convolution or a linear layer, and adds its node to the graph if it is tracked.
fn layer<B: DenseBackend, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    weights: FloatTensor<Autodiff<B, C>>,
    bias: Option<FloatTensor<Autodiff<B, C>>>,
    kind: LayerKind,
    relu: bool,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, w) = (input.primitive.clone(), weights.primitive.clone());
    let b = bias.as_ref().map(|bias| bias.primitive.clone());
    let output = match kind {
        LayerKind::Convolution(conv) => B::conv2d_bias_relu(x.clone(), w.clone(), b, conv, relu),
        LayerKind::Linear(precision) => {
            B::linear_bias_relu(x.clone(), w.clone(), b, precision, relu)
        }
    };
    let relu_output = relu.then(|| output.clone());
    let state = SavedLayer { input: x, weights: w, relu_output, kind };
    match bias {
        Some(bias) => finish_layer::<B, C, 3>([input, weights, bias], state, output),
        None => finish_layer::<B, C, 2>([input, weights], state, output),
    }
}

/// The output of a layer as a tracked tensor.
fn finish_layer<B: DenseBackend, C: CheckpointStrategy, const N: usize>(
    parents: [FloatTensor<Autodiff<B, C>>; N],
    state: SavedLayer<FloatTensor<B>>,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    // The parents must live until the new node is registered (ARCHITECTURE.md, section on Burn).
    let nodes = parents.each_ref().map(|parent| parent.node.clone());
    match Backward::<B, N>::prepare::<C>(LayerBackward, nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(state, output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    }
}

/// The autodiff node of a scale and a shift that are constants.
#[derive(Debug)]
struct ScaleBackward;

/// What the backward pass of a constant scale needs.
#[derive(Clone, Debug)]
struct ScaleState<T> {
    scale: T,
    /// The output, if a ReLU follows.
    relu_output: Option<T>,
}

impl<B: DenseBackend> Backward<B, 1> for ScaleBackward {
    type State = ScaleState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ScaleState { scale, relu_output } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            let grad = match relu_output {
                Some(output) => B::relu_grad(output, grad),
                None => grad,
            };
            let zero = into_primitive(from_primitive::<B, 1>(scale.clone()).zeros_like());
            B::scale_and_shift(grad, scale, zero, false)
        });
    }
}

/// The autodiff node of `relu(a + b)`. Both parents get the same gradient.
#[derive(Debug)]
struct AddReluBackward;

impl<B: DenseBackend> Backward<B, 2> for AddReluBackward {
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

/// The autodiff node of a dropout mask. Its state is the mask.
#[derive(Debug)]
struct MaskedBackward;

impl<B: DenseBackend> Backward<B, 1> for MaskedBackward {
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

/// The autodiff node of a pooling.
#[derive(Debug)]
struct PoolBackward;

/// A pooling and its input.
#[derive(Clone, Debug)]
struct PoolState<T> {
    input: T,
    size: usize,
    is_max: bool,
}

impl<B: DenseBackend> Backward<B, 1> for PoolBackward {
    type State = PoolState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let PoolState { input, size, is_max } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| match is_max {
            true => B::max_pool_backward(input, grad, size),
            false => B::average_pool_backward(input, grad, size),
        });
    }
}

fn pool<B: DenseBackend, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    size: usize,
    is_max: bool,
) -> FloatTensor<Autodiff<B, C>> {
    let node = input.node.clone();
    let input = input.primitive;
    let output = match is_max {
        true => B::max_pool(input.clone(), size),
        false => B::average_pool(input.clone(), size),
    };
    match PoolBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(PoolState { input, size, is_max }, output),
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
        layer::<B, C>(input, weights, bias, LayerKind::Convolution(convolution), relu)
    }

    fn linear_bias_relu(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        precision: Precision,
        relu: bool,
    ) -> FloatTensor<Self> {
        layer::<B, C>(input, weights, bias, LayerKind::Linear(precision), relu)
    }

    fn batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> BatchNormOutput<FloatTensor<Self>> {
        conv_batch_norm::batch_norm::<B, C>([input, gamma, beta], epsilon, relu)
    }

    fn conv2d_batch_norm(
        inputs: ConvBatchNormInputs<FloatTensor<Self>>,
        layer: ConvBatchNorm,
    ) -> (BatchNormOutput<FloatTensor<Self>>, FloatTensor<Self>) {
        conv_batch_norm::conv2d_batch_norm::<B, C>(inputs, layer)
    }

    /// A batch norm in evaluation. Where a constant scale and shift are the only parameters, one
    /// operation saves one feature map, and the default body would save two.
    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        if scale.is_tracked() || shift.is_tracked() {
            return reference::scale_and_shift::<Self>(input, scale, shift, relu);
        }
        let scale = scale.primitive;
        let output = B::scale_and_shift(input.primitive, scale.clone(), shift.primitive, relu);
        match ScaleBackward.prepare::<C>([input.node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => {
                let relu_output = relu.then(|| output.clone());
                graph.finish(ScaleState { scale, relu_output }, output)
            }
            OpsKind::UnTracked(graph) => graph.finish(output),
        }
    }

    fn add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::add_relu(a.primitive, b.primitive);
        match AddReluBackward.prepare::<C>([a.node, b.node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish(output.clone(), output),
            OpsKind::UnTracked(graph) => graph.finish(output),
        }
    }

    fn masked(input: FloatTensor<Self>, mask: &Arc<Mask>) -> FloatTensor<Self> {
        let output = B::masked(input.primitive, mask);
        match MaskedBackward.prepare::<C>([input.node]).compute_bound().stateful() {
            OpsKind::Tracked(graph) => graph.finish(mask.clone(), output),
            OpsKind::UnTracked(graph) => graph.finish(output),
        }
    }

    fn average_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        pool::<B, C>(input, size, false)
    }

    fn max_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        pool::<B, C>(input, size, true)
    }
}
