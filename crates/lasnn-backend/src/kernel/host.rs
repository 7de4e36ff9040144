//! Calls the CPU kernels, which work on slices, with tensors.

mod conv_batch_norm;

use std::borrow::Cow;

use burn::tensor::{Shape, TensorMetadata};
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::conv::{self, ConvShape};
use lasnn_dense_kernels::linear::{self, LinearShape};
use lasnn_dense_kernels::norm::{self, MapShape};
use lasnn_dense_kernels::optimizer::{self, AdamStep, SgdStep};
use lasnn_dense_kernels::pool::{self, PoolShape};
use lasnn_dense_kernels::relu;

pub(super) use conv_batch_norm::{
    batch_norm, batch_norm_backward, conv2d_batch_norm, conv2d_batch_norm_backward,
};

use crate::backend::Convolution;

/// A tensor of `f32` in host memory.
pub(super) trait HostTensor: TensorMetadata + Sized {
    /// The elements in row-major order; copied only if they lie in memory in another order.
    fn read(&self) -> Cow<'_, [f32]>;

    /// A vector of `length` elements with unspecified values, which the caller overwrites.
    fn buffer(length: usize) -> Vec<f32>;

    /// A tensor of the elements, which are in row-major order.
    fn write(elements: Vec<f32>, shape: Shape) -> Self;

    /// This tensor with its elements in row-major order in memory.
    fn contiguous(self) -> Self;

    /// The elements of a [`contiguous`](Self::contiguous) tensor. They are copied first if another
    /// tensor shares them.
    fn elements_mut(&mut self) -> &mut [f32];
}

/// A tensor of `shape` whose elements `fill` writes.
fn filled<T: HostTensor>(shape: impl Into<Shape>, fill: impl FnOnce(&mut [f32])) -> T {
    let shape = shape.into();
    let mut elements = T::buffer(shape.num_elements());
    fill(&mut elements);
    T::write(elements, shape)
}

fn conv_shape<T: HostTensor>(input: &T, weights: &T, convolution: Convolution) -> ConvShape {
    let (input, weights) = (input.shape(), weights.shape());
    ConvShape {
        batch: input[0],
        inputs: input[1],
        outputs: weights[0],
        height: input[2],
        width: input[3],
        kernel: weights[2],
        stride: convolution.stride,
        padding: convolution.padding,
    }
}

pub(super) fn conv2d<T: HostTensor>(
    input: &T,
    weights: &T,
    bias: Option<&T>,
    convolution: Convolution,
    relu: bool,
) -> T {
    let shape = conv_shape(input, weights, convolution);
    let output = [shape.batch, shape.outputs, shape.output_height(), shape.output_width()];
    let bias = bias.map(T::read);
    filled(output, |output| {
        let (input, weights) = (input.read(), weights.read());
        let (precision, bias) = (convolution.precision, bias.as_deref());
        conv::forward(shape, precision, &input, &weights, bias, relu, output);
    })
}

pub(super) fn conv2d_input_grad<T: HostTensor>(
    input: &T,
    weights: &T,
    output_grad: &T,
    convolution: Convolution,
) -> T {
    let shape = conv_shape(input, weights, convolution);
    filled(input.shape(), |grad| {
        let precision = convolution.precision;
        conv::input_grad(shape, precision, &output_grad.read(), &weights.read(), grad);
    })
}

pub(super) fn conv2d_weight_grad<T: HostTensor>(
    input: &T,
    weights: &T,
    output_grad: &T,
    convolution: Convolution,
) -> T {
    let shape = conv_shape(input, weights, convolution);
    filled(weights.shape(), |grad| {
        let precision = convolution.precision;
        conv::weight_grad(shape, precision, &input.read(), &output_grad.read(), grad);
    })
}

pub(super) fn channel_sums<T: HostTensor>(input: &T) -> T {
    let MapShape { channels, positions, .. } = map_shape(input);
    T::write(norm::channel_sums(&input.read(), channels, positions), [channels].into())
}

pub(super) fn linear<T: HostTensor>(
    input: &T,
    weights: &T,
    bias: Option<&T>,
    precision: Precision,
    relu: bool,
) -> T {
    let [batch, inputs, outputs] = [input.shape()[0], input.shape()[1], weights.shape()[1]];
    let shape = LinearShape { batch, inputs, outputs };
    let bias = bias.map(T::read);
    filled([batch, outputs], |output| {
        let (input, weights) = (input.read(), weights.read());
        linear::forward(shape, precision, &input, &weights, bias.as_deref(), relu, output);
    })
}

pub(super) fn linear_input_grad<T: HostTensor>(
    weights: &T,
    output_grad: &T,
    precision: Precision,
) -> T {
    let [batch, inputs] = [output_grad.shape()[0], weights.shape()[0]];
    let shape = LinearShape { batch, inputs, outputs: weights.shape()[1] };
    filled([batch, inputs], |grad| {
        linear::input_grad(shape, precision, &output_grad.read(), &weights.read(), grad);
    })
}

pub(super) fn linear_weight_grad<T: HostTensor>(
    input: &T,
    output_grad: &T,
    precision: Precision,
) -> T {
    let [batch, inputs, outputs] = [input.shape()[0], input.shape()[1], output_grad.shape()[1]];
    let shape = LinearShape { batch, inputs, outputs };
    filled([inputs, outputs], |grad| {
        linear::weight_grad(shape, precision, &input.read(), &output_grad.read(), grad);
    })
}

fn map_shape<T: HostTensor>(input: &T) -> MapShape {
    let shape = input.shape();
    MapShape { batch: shape[0], channels: shape[1], positions: shape[2] * shape[3] }
}

pub(super) fn scale_and_shift<T: HostTensor>(input: &T, scale: &T, shift: &T, relu: bool) -> T {
    filled(input.shape(), |output| {
        let parameters = [&*scale.read(), &*shift.read()];
        norm::scale_and_shift(map_shape(input), &input.read(), parameters, relu, output);
    })
}

pub(super) fn add_relu<T: HostTensor>(a: &T, b: &T) -> T {
    filled(a.shape(), |output| relu::add_relu(&a.read(), &b.read(), output))
}

pub(super) fn masked<T: HostTensor>(input: &T, mask: &Mask) -> T {
    filled(input.shape(), |output| {
        let (input, mask) = (input.read(), mask.rows());
        let step = mask.numbers().max(1);
        for (output, input) in output.chunks_mut(step).zip(input.chunks(step)) {
            mask.apply(input, output);
        }
    })
}

pub(super) fn relu_grad<T: HostTensor>(output: &T, output_grad: &T) -> T {
    filled(output.shape(), |grad| relu::relu_backward(&output_grad.read(), &output.read(), grad))
}

fn pool_shape<T: HostTensor>(input: &T, size: usize) -> PoolShape {
    let shape = input.shape();
    PoolShape { planes: shape[0] * shape[1], height: shape[2], width: shape[3], size }
}

fn pooled_shape<T: HostTensor>(input: &T, size: usize) -> [usize; 4] {
    let [rows, columns] = pool_shape(input, size).output();
    [input.shape()[0], input.shape()[1], rows, columns]
}

pub(super) fn average_pool<T: HostTensor>(input: &T, size: usize) -> T {
    let shape = pool_shape(input, size);
    filled(pooled_shape(input, size), |output| pool::average(shape, &input.read(), output))
}

pub(super) fn average_pool_backward<T: HostTensor>(input: &T, output_grad: &T, size: usize) -> T {
    let shape = pool_shape(input, size);
    filled(input.shape(), |grad| pool::average_backward(shape, &output_grad.read(), grad))
}

pub(super) fn max_pool<T: HostTensor>(input: &T, size: usize) -> T {
    let shape = pool_shape(input, size);
    filled(pooled_shape(input, size), |output| pool::maximum(shape, &input.read(), output))
}

pub(super) fn max_pool_backward<T: HostTensor>(input: &T, output_grad: &T, size: usize) -> T {
    let shape = pool_shape(input, size);
    filled(input.shape(), |grad| {
        pool::maximum_backward(shape, &input.read(), &output_grad.read(), grad);
    })
}

pub(super) fn adam<T: HostTensor>(
    step: &AdamStep,
    parameter: T,
    gradient: &T,
    moments: [T; 2],
    max_square: Option<T>,
) -> (T, [T; 2], Option<T>) {
    let mut parameter = parameter.contiguous();
    let [mut mean, mut square] = moments.map(T::contiguous);
    let mut max_square = max_square.map(T::contiguous);
    optimizer::adam(
        step,
        parameter.elements_mut(),
        &gradient.read(),
        mean.elements_mut(),
        square.elements_mut(),
        max_square.as_mut().map(T::elements_mut),
    );
    (parameter, [mean, square], max_square)
}

pub(super) fn sgd<T: HostTensor>(
    step: &SgdStep,
    parameter: T,
    gradient: &T,
    buffer: Option<T>,
) -> (T, Option<T>) {
    let mut parameter = parameter.contiguous();
    let mut buffer = buffer.map(T::contiguous);
    let gradient = gradient.read();
    let momentum = buffer.as_mut().map(T::elements_mut);
    optimizer::sgd(step, parameter.elements_mut(), &gradient, momentum);
    (parameter, buffer)
}

pub(super) fn sum_of_squares<T: HostTensor>(values: &T) -> T {
    T::write(vec![optimizer::sum_of_squares(&values.read())], [1].into())
}
