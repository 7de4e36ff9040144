//! The backward passes of batch norms, alone and behind convolutions.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use crate::backend::{DenseBackend, Normalised};
use crate::conv_batch_norm::{ConvolutionInputs, InputGrad, NormalisedConvolution, Recorded};

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// The step of a batch norm. Its parents are input, γ and β.
#[derive(Debug)]
struct NormaliseStep;

#[derive(Clone, Debug)]
struct NormaliseState<T> {
    input: T,
    scales: [T; 2],
    statistics: [T; 2],
    /// Where it was rectified.
    output: Option<T>,
    epsilon: f64,
}

impl<B: DenseBackend> Backward<B, 3> for NormaliseStep {
    type State = NormaliseState<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let NormaliseState { input, scales, statistics, output, epsilon } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let found = B::batch_norm_backward(input, scales, statistics, output, grad, epsilon);
        for (node, grad) in ops.parents.into_iter().zip(found) {
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
) -> Normalised<Tracked<B, C>> {
    let nodes = [input.node, gamma.node, beta.node];
    let (input, scales) = (input.primitive, [gamma.primitive, beta.primitive]);
    let [gamma, beta] = scales.clone();
    let Normalised { output, mean, variance } =
        B::batch_norm(input.clone(), gamma, beta, epsilon, relu);
    let statistics = [mean.clone(), variance.clone()];
    let output = match NormaliseStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => {
            let relu_grad = relu.then(|| output.clone());
            let state = NormaliseState { input, scales, statistics, output: relu_grad, epsilon };
            graph.finish(state, output)
        }
        OpsKind::UnTracked(graph) => graph.finish(output),
    };
    let (mean, variance) =
        (Autodiff::<B, C>::from_inner(mean), Autodiff::<B, C>::from_inner(variance));
    Normalised { output, mean, variance }
}

/// The step of a convolution with a batch norm behind it. Its parents are input, weights, γ, β and, if
/// `N` is 5, what is added.
#[derive(Debug)]
struct ConvolveNormaliseStep;

impl<B: DenseBackend, const N: usize> Backward<B, N> for ConvolveNormaliseStep {
    type State = (Recorded<FloatTensor<B>>, NormalisedConvolution);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (recorded, layer) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let to_input = match ops.parents.first() {
            Some(Some(node)) => {
                // A tensor of that node, whatever is in it, is how its gradient is asked for.
                let mut input = Autodiff::<B>::from_inner(grad.clone());
                input.node = node.clone();
                grads.remove::<B>(&input).map_or(InputGrad::New, InputGrad::Sum)
            }
            _ => InputGrad::Nothing,
        };
        let found = B::conv2d_batch_norm_backward(recorded, grad, layer, to_input);
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
    inputs: ConvolutionInputs<Tracked<B, C>>,
    layer: NormalisedConvolution,
) -> (Normalised<Tracked<B, C>>, Tracked<B, C>) {
    let ConvolutionInputs { input, weights, gamma, beta, added } = inputs;
    let [values, kernel, scale, shift] =
        [&input, &weights, &gamma, &beta].map(|parent| parent.primitive.clone());
    let inputs = ConvolutionInputs {
        input: values.clone(),
        weights: kernel.clone(),
        gamma: scale.clone(),
        beta: shift.clone(),
        added: added.as_ref().map(|added| added.primitive.clone()),
    };
    let (found, map) = B::conv2d_batch_norm(inputs, layer);
    let recorded = Recorded {
        input: values,
        weights: kernel,
        scales: [scale, shift],
        adds: added.is_some(),
        map: map.clone(),
        found: found.clone(),
    };
    let Normalised { output, mean, variance } = found;
    let state = (recorded, layer);
    let output = match added {
        Some(added) => step::<B, C, 5>([input, weights, gamma, beta, added], state, output),
        None => step::<B, C, 4>([input, weights, gamma, beta], state, output),
    };
    let [mean, variance, map] = [mean, variance, map].map(Autodiff::<B, C>::from_inner);
    (Normalised { output, mean, variance }, map)
}

fn step<B: DenseBackend, C: CheckpointStrategy, const N: usize>(
    parents: [Tracked<B, C>; N],
    state: (Recorded<FloatTensor<B>>, NormalisedConvolution),
    output: FloatTensor<B>,
) -> Tracked<B, C> {
    let nodes = parents.map(|parent| parent.node);
    let step = Backward::<B, N>::prepare::<C>(ConvolveNormaliseStep, nodes);
    match step.compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(state, output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    }
}
