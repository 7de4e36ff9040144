//! The backward passes of batch norm, alone and after a convolution.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use crate::backend::{BatchNormOutput, DenseBackend};
use crate::conv_batch_norm::{ConvBatchNorm, ConvBatchNormInputs, InputGrad, SavedForBackward};

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// The autodiff node of a batch norm. Its parents are the input, γ and β.
#[derive(Debug)]
struct BatchNormBackward;

/// The values that the backward pass of a batch norm needs.
#[derive(Clone, Debug)]
struct BatchNormState<T> {
    input: T,
    affine: [T; 2],
    statistics: [T; 2],
    /// The output, if a ReLU was applied.
    relu_output: Option<T>,
    epsilon: f64,
}

impl<B: DenseBackend> Backward<B, 3> for BatchNormBackward {
    type State = BatchNormState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let BatchNormState { input, affine, statistics, relu_output, epsilon } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let input_grads =
            B::batch_norm_backward(input, affine, statistics, relu_output, grad, epsilon);
        for (node, grad) in ops.parents.into_iter().zip(input_grads) {
            if let Some(node) = node {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

pub(super) fn batch_norm<B: DenseBackend, C: CheckpointStrategy>(
    [input, gamma, beta]: [Tracked<B, C>; 3],
    epsilon: f64,
    relu: bool,
) -> BatchNormOutput<Tracked<B, C>> {
    let nodes = [input.node, gamma.node, beta.node];
    let (input, affine) = (input.primitive, [gamma.primitive, beta.primitive]);
    let [gamma, beta] = affine.clone();
    let BatchNormOutput { output, mean, variance } =
        B::batch_norm(input.clone(), gamma, beta, epsilon, relu);
    let statistics = [mean.clone(), variance.clone()];
    let output = match BatchNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => {
            let relu_output = relu.then(|| output.clone());
            let state = BatchNormState { input, affine, statistics, relu_output, epsilon };
            graph.finish(state, output)
        }
        OpsKind::UnTracked(graph) => graph.finish(output),
    };
    let (mean, variance) =
        (Autodiff::<B, C>::from_inner(mean), Autodiff::<B, C>::from_inner(variance));
    BatchNormOutput { output, mean, variance }
}

/// The autodiff node of a convolution with batch norm. Its parents are the input, the weights, γ, β
/// and, if `N` is 5, the added feature map.
#[derive(Debug)]
struct ConvBatchNormBackward;

impl<B: DenseBackend, const N: usize> Backward<B, N> for ConvBatchNormBackward {
    type State = (SavedForBackward<FloatTensor<B>>, ConvBatchNorm);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (saved, layer) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let input_grad = match ops.parents.first() {
            Some(Some(node)) => {
                // Burn looks a gradient up by the node of a tensor; the tensor's values are not
                // read.
                let mut input = Autodiff::<B>::from_inner(grad.clone());
                input.node = node.clone();
                grads.remove::<B>(&input).map_or(InputGrad::New, InputGrad::AddTo)
            }
            _ => InputGrad::Skip,
        };
        let found = B::conv2d_batch_norm_backward(saved, grad, layer, input_grad);
        let found =
            [found.input, Some(found.weights), Some(found.gamma), Some(found.beta), found.added];
        for (node, grad) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

pub(super) fn conv2d_batch_norm<B: DenseBackend, C: CheckpointStrategy>(
    inputs: ConvBatchNormInputs<Tracked<B, C>>,
    layer: ConvBatchNorm,
) -> (BatchNormOutput<Tracked<B, C>>, Tracked<B, C>) {
    let ConvBatchNormInputs { input, weights, gamma, beta, added } = inputs;
    let [x, w, g, b] = [&input, &weights, &gamma, &beta].map(|parent| parent.primitive.clone());
    let inputs = ConvBatchNormInputs {
        input: x.clone(),
        weights: w.clone(),
        gamma: g.clone(),
        beta: b.clone(),
        added: added.as_ref().map(|added| added.primitive.clone()),
    };
    let (result, conv_output) = B::conv2d_batch_norm(inputs, layer);
    let saved = SavedForBackward {
        input: x,
        weights: w,
        affine: [g, b],
        has_added: added.is_some(),
        conv_output: conv_output.clone(),
        result: result.clone(),
    };
    let BatchNormOutput { output, mean, variance } = result;
    let state = (saved, layer);
    let output = match added {
        Some(added) => finish::<B, C, 5>([input, weights, gamma, beta, added], state, output),
        None => finish::<B, C, 4>([input, weights, gamma, beta], state, output),
    };
    let [mean, variance, conv_output] =
        [mean, variance, conv_output].map(Autodiff::<B, C>::from_inner);
    (BatchNormOutput { output, mean, variance }, conv_output)
}

/// The output as a tracked tensor.
fn finish<B: DenseBackend, C: CheckpointStrategy, const N: usize>(
    parents: [Tracked<B, C>; N],
    state: (SavedForBackward<FloatTensor<B>>, ConvBatchNorm),
    output: FloatTensor<B>,
) -> Tracked<B, C> {
    // The parents must live until the new node is registered (ARCHITECTURE.md, section on Burn).
    let nodes = parents.each_ref().map(|parent| parent.node.clone());
    let node = Backward::<B, N>::prepare::<C>(ConvBatchNormBackward, nodes);
    match node.compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(state, output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    }
}
