//! The trait of a backend that trains non-spiking networks fast.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorPrimitive, backend::Backend, ops::ConvOptions, ops::FloatTensor};
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use crate::conv_batch_norm::{
    self, ConvBatchNorm, ConvBatchNormGrads, ConvBatchNormInputs, InputGrad, SavedForBackward,
};
use crate::reference;

/// The options of a convolution with square kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input; fewer than the kernel has rows.
    pub padding: usize,
    /// The format in which factors are multiplied. The reference ignores it and multiplies the
    /// tensors as they are.
    pub precision: Precision,
}

impl Convolution {
    /// The options in Burn's type.
    pub(crate) fn options(self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1)
    }
}

/// The output of a batch norm and the statistics of the batch.
#[derive(Clone, Debug)]
pub struct BatchNormOutput<T> {
    /// The normalised feature map, of the input's shape.
    pub output: T,
    /// The mean of each channel, `[channels]`.
    pub mean: T,
    /// The variance of each channel with divisor n, `[channels]`.
    pub variance: T,
}

/// A backend that trains non-spiking networks fast.
///
/// Every method has a default body made of Burn's tensor operations, the
/// [`reference`](mod@crate::reference), which is correct on any backend. This crate's tests compare
/// the kernels that replace it with the reference.
///
/// The methods work on primitives, because Burn's backends do; networks call [`crate::ops`], which
/// takes tensors. The names are PyTorch's with a suffix (`conv2d_bias_relu`, `relu_grad`) wherever
/// Burn's own backend traits have a method of PyTorch's name, such as `conv2d` or `linear`: a call
/// `B::conv2d` would be ambiguous.
///
/// Feature maps are `[batch, channels, height, width]`, weights of convolutions
/// `[outputs, inputs, kernel, kernel]`, weights of linear layers `[inputs, outputs]`. With `relu`
/// set, the operation applies a ReLU to its output. The methods that return gradients expect
/// `output_grad` to be the gradient before this ReLU, which [`relu_grad`](Self::relu_grad)
/// computes, unless they say otherwise.
///
/// On an autodiff backend the forward methods are differentiable. Of the results of
/// [`batch_norm`](Self::batch_norm) and [`conv2d_batch_norm`](Self::conv2d_batch_norm) only the
/// output is; the other results are constants.
pub trait DenseBackend: Backend {
    /// The convolution of `input` with `weights`, plus the bias `[outputs]`.
    fn conv2d_bias_relu(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        convolution: Convolution,
        relu: bool,
    ) -> FloatTensor<Self> {
        reference::conv2d::<Self>(input, weights, bias, convolution, relu)
    }

    /// The gradient with respect to the input of [`conv2d_bias_relu`](Self::conv2d_bias_relu).
    /// Only the shape of `input` is used.
    fn conv2d_input_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        reference::conv2d_input_grad::<Self>(input, weights, output_grad, convolution)
    }

    /// The gradient with respect to the weights of [`conv2d_bias_relu`](Self::conv2d_bias_relu).
    /// Only the shape of `weights` is used.
    fn conv2d_weight_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        reference::conv2d_weight_grad::<Self>(input, weights, output_grad, convolution)
    }

    /// The sum `[channels]` of a feature map over batch, rows and columns: the gradient with
    /// respect to the bias of [`conv2d_bias_relu`](Self::conv2d_bias_relu).
    fn channel_sums(input: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::channel_sums::<Self>(input)
    }

    /// `input · weights + bias` with `input` `[batch, inputs]` and the bias `[outputs]`. The
    /// reference ignores the precision.
    fn linear_bias_relu(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        _precision: Precision,
        relu: bool,
    ) -> FloatTensor<Self> {
        reference::linear::<Self>(input, weights, bias, relu)
    }

    /// The gradient with respect to the input of [`linear_bias_relu`](Self::linear_bias_relu).
    fn linear_input_grad(
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        _precision: Precision,
    ) -> FloatTensor<Self> {
        reference::linear_input_grad::<Self>(weights, output_grad)
    }

    /// The gradient with respect to the weights of [`linear_bias_relu`](Self::linear_bias_relu).
    fn linear_weight_grad(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        _precision: Precision,
    ) -> FloatTensor<Self> {
        reference::linear_weight_grad::<Self>(input, output_grad)
    }

    /// Batch norm of each channel, `γ · (x - µ) / sqrt(σ² + ε) + β`, with the mean µ and the
    /// variance σ² of the batch.
    fn batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> BatchNormOutput<FloatTensor<Self>> {
        reference::batch_norm::<Self>(input, gamma, beta, epsilon, relu)
    }

    /// The gradients with respect to input, γ and β of [`batch_norm`](Self::batch_norm).
    ///
    /// `affine` is γ and β, `statistics` the mean and the variance of the batch. `output` is given
    /// if and only if the forward pass applied a ReLU; `output_grad` is then the gradient after it.
    fn batch_norm_backward(
        input: FloatTensor<Self>,
        affine: [FloatTensor<Self>; 2],
        statistics: [FloatTensor<Self>; 2],
        output: Option<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3] {
        reference::batch_norm_backward::<Self>(
            input,
            affine,
            statistics,
            output,
            output_grad,
            epsilon,
        )
    }

    /// A convolution, a batch norm, an optional sum with another feature map, and an optional ReLU.
    /// The second result is the output of the convolution in the backend's own format, for
    /// [`SavedForBackward::conv_output`].
    fn conv2d_batch_norm(
        inputs: ConvBatchNormInputs<FloatTensor<Self>>,
        layer: ConvBatchNorm,
    ) -> (BatchNormOutput<FloatTensor<Self>>, FloatTensor<Self>) {
        conv_batch_norm::conv2d_batch_norm::<Self>(inputs, layer)
    }

    /// The gradients with respect to the inputs of [`conv2d_batch_norm`](Self::conv2d_batch_norm).
    /// `output_grad` is the gradient after the ReLU.
    fn conv2d_batch_norm_backward(
        saved: SavedForBackward<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        layer: ConvBatchNorm,
        input_grad: InputGrad<FloatTensor<Self>>,
    ) -> ConvBatchNormGrads<FloatTensor<Self>> {
        conv_batch_norm::conv2d_batch_norm_backward::<Self>(saved, output_grad, layer, input_grad)
    }

    /// `scale · x + shift` with a scale and a shift for each channel, both `[channels]`.
    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        reference::scale_and_shift::<Self>(input, scale, shift, relu)
    }

    /// `relu(a + b)` of two feature maps of the same shape.
    fn add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::add_relu::<Self>(a, b)
    }

    /// A tensor times a dropout mask, whose rows are the images of a batch. If the tensor has a
    /// multiple of these rows, one batch for each time step, the mask is applied at every step.
    fn masked(input: FloatTensor<Self>, mask: &Arc<Mask>) -> FloatTensor<Self> {
        reference::masked::<Self>(input, mask)
    }

    /// The gradient before a ReLU, given the output of the ReLU and the gradient after it.
    fn relu_grad(output: FloatTensor<Self>, output_grad: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::relu_grad::<Self>(output, output_grad)
    }

    /// The mean of each window of `size` × `size`; the stride is `size`.
    fn average_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        reference::average_pool::<Self>(input, size)
    }

    /// The gradient with respect to the input of [`average_pool`](Self::average_pool). Only the
    /// shape of `input` is used.
    fn average_pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        size: usize,
    ) -> FloatTensor<Self> {
        reference::average_pool_backward::<Self>(input, output_grad, size)
    }

    /// The maximum of each window of `size` × `size`; the stride is `size`.
    fn max_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        reference::max_pool::<Self>(input, size)
    }

    /// The gradient with respect to the input of [`max_pool`](Self::max_pool).
    fn max_pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        size: usize,
    ) -> FloatTensor<Self> {
        reference::max_pool_backward::<Self>(input, output_grad, size)
    }

    /// One step of Adam. Returns the new parameter, the new mean gradient and mean squared
    /// gradient, and, for AMSGrad, the maximum of the mean squared gradient over all steps so far.
    ///
    /// All tensors have the same shape. At the first step the moments and `max_square` are zero.
    fn adam(
        step: AdamStep,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        moments: [FloatTensor<Self>; 2],
        max_square: Option<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2], Option<FloatTensor<Self>>) {
        reference::adam::<Self>(step, parameter, gradient, moments, max_square)
    }

    /// One step of stochastic gradient descent. Returns the new parameter and the new momentum
    /// buffer.
    ///
    /// All tensors have the same shape. At the first step the buffer is zero; without momentum
    /// there is none.
    fn sgd(
        step: SgdStep,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        buffer: Option<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        reference::sgd::<Self>(step, parameter, gradient, buffer)
    }

    /// The sum of the squares of all elements, `[1]`.
    fn sum_of_squares(values: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::sum_of_squares::<Self>(values)
    }
}

/// Wraps a primitive into a tensor.
pub(crate) fn from_primitive<B: Backend, const D: usize>(
    primitive: FloatTensor<B>,
) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// Takes the primitive out of a tensor.
pub(crate) fn into_primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
