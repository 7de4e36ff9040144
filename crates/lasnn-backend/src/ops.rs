//! The operations of [`DenseBackend`] on tensors.

use std::sync::Arc;

use burn::tensor::Tensor;
use lasnn_core::Mask;

use crate::backend::{BatchNormOutput, Convolution, DenseBackend, from_primitive, into_primitive};
use crate::conv_batch_norm::{ConvBatchNorm, ConvBatchNormInputs};
use crate::{AdamStep, Precision, SgdStep};

/// The convolution of `input` `[batch, inputs, height, width]` with `weights`
/// `[outputs, inputs, kernel, kernel]`, plus the bias `[outputs]`; followed by a ReLU if `relu`.
pub fn conv2d<B: DenseBackend>(
    input: Tensor<B, 4>,
    weights: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    convolution: Convolution,
    relu: bool,
) -> Tensor<B, 4> {
    let bias = bias.map(into_primitive);
    let (input, weights) = (into_primitive(input), into_primitive(weights));
    from_primitive(B::conv2d_bias_relu(input, weights, bias, convolution, relu))
}

/// The gradient with respect to the weights of [`conv2d`] without a ReLU. `output_grad` is that
/// with respect to the output. Only the shape of `weights` is used.
pub fn conv2d_weight_grad<B: DenseBackend>(
    input: Tensor<B, 4>,
    weights: Tensor<B, 4>,
    output_grad: Tensor<B, 4>,
    convolution: Convolution,
) -> Tensor<B, 4> {
    let (input, weights) = (into_primitive(input), into_primitive(weights));
    let output_grad = into_primitive(output_grad);
    from_primitive(B::conv2d_weight_grad(input, weights, output_grad, convolution))
}

/// `input · weights + bias` with `input` `[batch, inputs]`, `weights` `[inputs, outputs]` and the
/// bias `[outputs]`; followed by a ReLU if `relu`.
pub fn linear<B: DenseBackend>(
    input: Tensor<B, 2>,
    weights: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    precision: Precision,
    relu: bool,
) -> Tensor<B, 2> {
    let bias = bias.map(into_primitive);
    let (input, weights) = (into_primitive(input), into_primitive(weights));
    from_primitive(B::linear_bias_relu(input, weights, bias, precision, relu))
}

/// Batch norm of a feature map `[batch, channels, height, width]` with the statistics of the batch;
/// followed by a ReLU if `relu`. Returns the output, and the mean and the variance `[channels]`.
///
/// On an autodiff backend, mean and variance are constants.
pub fn batch_norm<B: DenseBackend>(
    input: Tensor<B, 4>,
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    epsilon: f64,
    relu: bool,
) -> (Tensor<B, 4>, [Tensor<B, 1>; 2]) {
    let (gamma, beta) = (into_primitive(gamma), into_primitive(beta));
    let BatchNormOutput { output, mean, variance } =
        B::batch_norm(into_primitive(input), gamma, beta, epsilon, relu);
    (from_primitive(output), [from_primitive(mean), from_primitive(variance)])
}

/// Computes in one operation: the convolution of `input` with `weights` without a bias, its
/// [`batch_norm`] with γ and β, the sum with `added`, and a ReLU if the layer has one. Returns the
/// output, and the mean and the variance `[outputs]`.
///
/// On an autodiff backend, mean and variance are constants.
pub fn conv2d_batch_norm<B: DenseBackend>(
    input: Tensor<B, 4>,
    weights: Tensor<B, 4>,
    [gamma, beta]: [Tensor<B, 1>; 2],
    added: Option<Tensor<B, 4>>,
    layer: ConvBatchNorm,
) -> (Tensor<B, 4>, [Tensor<B, 1>; 2]) {
    let inputs = ConvBatchNormInputs {
        input: into_primitive(input),
        weights: into_primitive(weights),
        gamma: into_primitive(gamma),
        beta: into_primitive(beta),
        added: added.map(into_primitive),
    };
    let (BatchNormOutput { output, mean, variance }, _) = B::conv2d_batch_norm(inputs, layer);
    (from_primitive(output), [from_primitive(mean), from_primitive(variance)])
}

/// `scale · x + shift` of a feature map, with a scale and a shift `[channels]`; followed by a ReLU
/// if `relu`.
pub fn scale_and_shift<B: DenseBackend>(
    input: Tensor<B, 4>,
    scale: Tensor<B, 1>,
    shift: Tensor<B, 1>,
    relu: bool,
) -> Tensor<B, 4> {
    let (scale, shift) = (into_primitive(scale), into_primitive(shift));
    from_primitive(B::scale_and_shift(into_primitive(input), scale, shift, relu))
}

/// `relu(a + b)` of two feature maps of the same shape.
pub fn add_relu<B: DenseBackend>(a: Tensor<B, 4>, b: Tensor<B, 4>) -> Tensor<B, 4> {
    from_primitive(B::add_relu(into_primitive(a), into_primitive(b)))
}

/// A tensor times a dropout mask, whose rows are the images of a batch. If the tensor has a
/// multiple of these rows, one batch for each time step, the mask is applied at every step.
pub fn masked<B: DenseBackend, const D: usize>(input: Tensor<B, D>, mask: Mask) -> Tensor<B, D> {
    from_primitive(B::masked(into_primitive(input), &Arc::new(mask)))
}

/// The mean of each window of `size` × `size`; the stride is `size`.
pub fn average_pool<B: DenseBackend>(input: Tensor<B, 4>, size: usize) -> Tensor<B, 4> {
    from_primitive(B::average_pool(into_primitive(input), size))
}

/// The maximum of each window of `size` × `size`; the stride is `size`.
pub fn max_pool<B: DenseBackend>(input: Tensor<B, 4>, size: usize) -> Tensor<B, 4> {
    from_primitive(B::max_pool(into_primitive(input), size))
}

/// The results of a step of Adam: the parameter, the moments, and the maximum of the second moment.
pub type AdamStepped<B> = (Tensor<B, 1>, [Tensor<B, 1>; 2], Option<Tensor<B, 1>>);

/// One step of Adam on flat tensors. The moments are zero at the first step.
pub fn adam<B: DenseBackend>(
    step: AdamStep,
    parameter: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    moments: [Tensor<B, 1>; 2],
    max_square: Option<Tensor<B, 1>>,
) -> AdamStepped<B> {
    let moments = moments.map(into_primitive);
    let max_square = max_square.map(into_primitive);
    let (parameter, moments, max_square) =
        B::adam(step, into_primitive(parameter), into_primitive(gradient), moments, max_square);
    (from_primitive(parameter), moments.map(from_primitive), max_square.map(from_primitive))
}

/// One step of stochastic gradient descent on flat tensors. The momentum buffer is zero at the
/// first step; without momentum there is none.
pub fn sgd<B: DenseBackend>(
    step: SgdStep,
    parameter: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    buffer: Option<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Option<Tensor<B, 1>>) {
    let buffer = buffer.map(into_primitive);
    let (parameter, buffer) =
        B::sgd(step, into_primitive(parameter), into_primitive(gradient), buffer);
    (from_primitive(parameter), buffer.map(from_primitive))
}

/// The sum of the squares of all elements of a flat tensor, `[1]`.
pub fn sum_of_squares<B: DenseBackend>(values: Tensor<B, 1>) -> Tensor<B, 1> {
    from_primitive(B::sum_of_squares(into_primitive(values)))
}
