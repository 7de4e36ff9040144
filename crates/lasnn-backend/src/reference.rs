//! The operations made of Burn's tensor operations. Tests compare the kernels with them.
//!
//! These are the default bodies of [`DenseBackend`](crate::DenseBackend). They are functions of
//! their own, so that a backend whose kernels support `f32` only can call them for other types.

use burn::tensor::{Shape, TensorData, TensorMetadata, backend::Backend, ops::FloatTensor};
use lasnn_core::Mask;
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use crate::backend::{BatchNormOutput, Convolution, from_primitive, into_primitive};
use crate::formulas;

/// The default body of [`conv2d_bias_relu`](crate::DenseBackend::conv2d_bias_relu).
pub fn conv2d<B: Backend>(
    input: FloatTensor<B>,
    weights: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    convolution: Convolution,
    relu: bool,
) -> FloatTensor<B> {
    let output = B::conv2d(input, weights, bias, convolution.options());
    if relu { B::relu(output) } else { output }
}

/// The default body of [`conv2d_input_grad`](crate::DenseBackend::conv2d_input_grad).
pub fn conv2d_input_grad<B: Backend>(
    input: FloatTensor<B>,
    weights: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    convolution: Convolution,
) -> FloatTensor<B> {
    B::conv2d_x_backward(input, weights, output_grad, convolution.options())
}

/// The default body of [`conv2d_weight_grad`](crate::DenseBackend::conv2d_weight_grad).
pub fn conv2d_weight_grad<B: Backend>(
    input: FloatTensor<B>,
    weights: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    convolution: Convolution,
) -> FloatTensor<B> {
    B::conv2d_weight_backward(input, weights, output_grad, convolution.options())
}

/// The default body of [`channel_sums`](crate::DenseBackend::channel_sums).
pub fn channel_sums<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    into_primitive(formulas::channel_sums::<B>(from_primitive(input)))
}

/// The default body of [`linear_bias_relu`](crate::DenseBackend::linear_bias_relu).
pub fn linear<B: Backend>(
    input: FloatTensor<B>,
    weights: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    relu: bool,
) -> FloatTensor<B> {
    let bias = bias.map(from_primitive::<B, 1>);
    let (input, weights) = (from_primitive(input), from_primitive(weights));
    into_primitive(formulas::linear::<B>(input, weights, bias, relu))
}

/// The default body of [`linear_input_grad`](crate::DenseBackend::linear_input_grad).
pub fn linear_input_grad<B: Backend>(
    weights: FloatTensor<B>,
    output_grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let weights = from_primitive::<B, 2>(weights).transpose();
    into_primitive(from_primitive::<B, 2>(output_grad).matmul(weights))
}

/// The default body of [`linear_weight_grad`](crate::DenseBackend::linear_weight_grad).
pub fn linear_weight_grad<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let input = from_primitive::<B, 2>(input).transpose();
    into_primitive(input.matmul(from_primitive::<B, 2>(output_grad)))
}

/// The default body of [`batch_norm`](crate::DenseBackend::batch_norm).
pub fn batch_norm<B: Backend>(
    input: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    epsilon: f64,
    relu: bool,
) -> BatchNormOutput<FloatTensor<B>> {
    let (gamma, beta) = (from_primitive(gamma), from_primitive(beta));
    let (output, mean, variance) =
        formulas::batch_norm::<B>(from_primitive(input), gamma, beta, epsilon, relu);
    BatchNormOutput {
        output: into_primitive(output),
        mean: into_primitive(mean),
        variance: into_primitive(variance),
    }
}

/// The default body of [`batch_norm_backward`](crate::DenseBackend::batch_norm_backward).
pub fn batch_norm_backward<B: Backend>(
    input: FloatTensor<B>,
    [gamma, _]: [FloatTensor<B>; 2],
    statistics: [FloatTensor<B>; 2],
    output: Option<FloatTensor<B>>,
    output_grad: FloatTensor<B>,
    epsilon: f64,
) -> [FloatTensor<B>; 3] {
    let output_grad = match output {
        Some(output) => B::relu_backward(output, output_grad),
        None => output_grad,
    };
    let [mean, variance] = statistics.map(from_primitive::<B, 1>);
    let (input, gamma) = (from_primitive(input), from_primitive(gamma));
    let grad = from_primitive(output_grad);
    let (input, gamma, beta) =
        formulas::batch_norm_backward::<B>(input, gamma, mean, variance, grad, epsilon);
    [into_primitive(input), into_primitive(gamma), into_primitive(beta)]
}

/// The default body of [`scale_and_shift`](crate::DenseBackend::scale_and_shift).
pub fn scale_and_shift<B: Backend>(
    input: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    relu: bool,
) -> FloatTensor<B> {
    let (scale, shift) = (from_primitive(scale), from_primitive(shift));
    let output = formulas::scale_and_shift::<B>(from_primitive(input), scale, shift);
    let output = into_primitive(output);
    if relu { B::relu(output) } else { output }
}

/// The default body of [`add_relu`](crate::DenseBackend::add_relu).
pub fn add_relu<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    B::relu(B::float_add(a, b))
}

/// The default body of [`masked`](crate::DenseBackend::masked).
pub fn masked<B: Backend>(input: FloatTensor<B>, mask: &Mask) -> FloatTensor<B> {
    let (shape, elements) = (input.shape(), mask.rows().numbers());
    let factors = TensorData::new(mask.rows().factors(), [1, elements]);
    let factors = factors.convert_dtype(input.dtype());
    let factors = B::float_from_data(factors, &B::float_device(&input));
    let steps = shape.num_elements() / elements.max(1);
    let rows = B::float_reshape(input, Shape::new([steps, elements]));
    B::float_reshape(B::float_mul(rows, factors), shape)
}

/// The default body of [`relu_grad`](crate::DenseBackend::relu_grad).
pub fn relu_grad<B: Backend>(
    output: FloatTensor<B>,
    output_grad: FloatTensor<B>,
) -> FloatTensor<B> {
    B::relu_backward(output, output_grad)
}

/// The default body of [`average_pool`](crate::DenseBackend::average_pool).
pub fn average_pool<B: Backend>(input: FloatTensor<B>, size: usize) -> FloatTensor<B> {
    B::avg_pool2d(input, [size; 2], [size; 2], [0; 2], false, false)
}

/// The default body of [`average_pool_backward`](crate::DenseBackend::average_pool_backward).
pub fn average_pool_backward<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    size: usize,
) -> FloatTensor<B> {
    B::avg_pool2d_backward(input, output_grad, [size; 2], [size; 2], [0; 2], false, false)
}

/// The default body of [`max_pool`](crate::DenseBackend::max_pool).
pub fn max_pool<B: Backend>(input: FloatTensor<B>, size: usize) -> FloatTensor<B> {
    B::max_pool2d(input, [size; 2], [size; 2], [0; 2], [1; 2], false)
}

/// The default body of [`max_pool_backward`](crate::DenseBackend::max_pool_backward).
pub fn max_pool_backward<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    size: usize,
) -> FloatTensor<B> {
    let (size, padding, dilation) = ([size; 2], [0; 2], [1; 2]);
    let indices =
        B::max_pool2d_with_indices(input.clone(), size, size, padding, dilation, false).indices;
    B::max_pool2d_with_indices_backward(
        input,
        size,
        size,
        padding,
        dilation,
        false,
        output_grad,
        indices,
    )
    .x_grad
}

/// The default body of [`adam`](crate::DenseBackend::adam).
pub fn adam<B: Backend>(
    step: AdamStep,
    parameter: FloatTensor<B>,
    gradient: FloatTensor<B>,
    moments: [FloatTensor<B>; 2],
    max_square: Option<FloatTensor<B>>,
) -> (FloatTensor<B>, [FloatTensor<B>; 2], Option<FloatTensor<B>>) {
    let moments = moments.map(from_primitive::<B, 1>);
    let max_square = max_square.map(from_primitive::<B, 1>);
    let (parameter, gradient) = (from_primitive(parameter), from_primitive(gradient));
    let (parameter, moments, max_square) =
        formulas::adam::<B>(&step, parameter, gradient, moments, max_square);
    (into_primitive(parameter), moments.map(into_primitive), max_square.map(into_primitive))
}

/// The default body of [`sgd`](crate::DenseBackend::sgd).
pub fn sgd<B: Backend>(
    step: SgdStep,
    parameter: FloatTensor<B>,
    gradient: FloatTensor<B>,
    buffer: Option<FloatTensor<B>>,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let buffer = buffer.map(from_primitive::<B, 1>);
    let (parameter, gradient) = (from_primitive(parameter), from_primitive(gradient));
    let (parameter, buffer) = formulas::sgd::<B>(&step, parameter, gradient, buffer);
    (into_primitive(parameter), buffer.map(into_primitive))
}

/// The default body of [`sum_of_squares`](crate::DenseBackend::sum_of_squares).
pub fn sum_of_squares<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    into_primitive(from_primitive::<B, 1>(values).square().sum())
}
