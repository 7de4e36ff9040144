//! The few operations that a backend makes fast.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorPrimitive, backend::Backend, ops::ConvOptions, ops::FloatTensor};
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use crate::conv_batch_norm::{
    self, ConvolutionGrads, ConvolutionInputs, InputGrad, NormalisedConvolution, Recorded,
};
use crate::reference;

/// How a convolution with square kernels is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Zeros around the input; fewer than the kernel has rows.
    pub padding: usize,
    /// What is multiplied. The reference multiplies what the tensors hold.
    pub precision: Precision,
}

impl Convolution {
    /// The same as Burn says it.
    pub(crate) fn options(self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1)
    }
}

/// What a batch norm gives.
#[derive(Clone, Debug)]
pub struct Normalised<T> {
    /// The conv_batch_norm map, of the input's shape.
    pub output: T,
    /// The mean of each channel, `[channels]`.
    pub mean: T,
    /// The mean squared distance from it, `[channels]`.
    pub variance: T,
}

/// A backend that can train ordinary networks fast.
///
/// Every method has a default body made of stock tensor operations, the
/// [`reference`](mod@crate::reference), which is right on any backend. The kernels that replace it are compared with
/// it by this crate's tests.
///
/// The methods work on primitives because that is what backends are made of; [`crate::ops`] is the
/// way in for everybody else. Maps are `[batch, channels, height, width]`, weights of convolutions
/// `[outputs, inputs, kernel, kernel]`, those of linear layers `[inputs, outputs]`. Where `relu`
/// is set, negative outputs become zero; the gradients that are asked for take the gradient *before*
/// the rectifier, which [`relu_grad`](Self::relu_grad) gives.
///
/// On an autodiff backend the forward methods are differentiable; of what [`batch_norm`](Self::batch_norm)
/// and [`conv2d_batch_norm`](Self::conv2d_batch_norm) give, the output is.
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

    /// The gradient with respect to the input of [`conv2d_bias_relu`](Self::conv2d_bias_relu), of which the shape
    /// alone is looked at.
    fn conv2d_input_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        reference::conv2d_input_grad::<Self>(input, weights, output_grad, convolution)
    }

    /// The gradient with respect to the weights of [`conv2d_bias_relu`](Self::conv2d_bias_relu), of which the shape
    /// alone is looked at.
    fn conv2d_weight_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        reference::conv2d_weight_grad::<Self>(input, weights, output_grad, convolution)
    }

    /// The sum `[channels]` over everything but the channels of a map: the gradient with respect to
    /// the bias of [`conv2d_bias_relu`](Self::conv2d_bias_relu).
    fn channel_sums(map: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::channel_sums::<Self>(map)
    }

    /// `input · weights + bias` of `input` `[batch, inputs]`, with the bias `[outputs]`. The reference
    /// multiplies what the tensors hold, whatever the precision.
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

    /// Batch norm of each channel: `γ · (x - µ) / sqrt(σ² + ε) + β`, µ and σ² being those of the
    /// batch.
    fn batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> Normalised<FloatTensor<Self>> {
        reference::batch_norm::<Self>(input, gamma, beta, epsilon, relu)
    }

    /// The gradients with respect to input, γ and β of [`batch_norm`](Self::batch_norm), given the
    /// `scales` γ and β and the `statistics` mean and variance. Where the output was rectified, it is
    /// given as well, and `output_grad` is the gradient behind the rectifier.
    fn batch_norm_backward(
        input: FloatTensor<Self>,
        scales: [FloatTensor<Self>; 2],
        statistics: [FloatTensor<Self>; 2],
        output: Option<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3] {
        reference::batch_norm_backward::<Self>(
            input,
            scales,
            statistics,
            output,
            output_grad,
            epsilon,
        )
    }

    /// A convolution with a batch norm behind it, and what is added to that before the rectifier; and
    /// the map between the two, in a form of the backend's own.
    fn conv2d_batch_norm(
        inputs: ConvolutionInputs<FloatTensor<Self>>,
        layer: NormalisedConvolution,
    ) -> (Normalised<FloatTensor<Self>>, FloatTensor<Self>) {
        conv_batch_norm::conv2d_batch_norm::<Self>(inputs, layer)
    }

    /// The gradients with respect to the inputs of [`conv2d_batch_norm`](Self::conv2d_batch_norm),
    /// `output_grad` being the one behind the rectifier.
    fn conv2d_batch_norm_backward(
        recorded: Recorded<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        layer: NormalisedConvolution,
        to_input: InputGrad<FloatTensor<Self>>,
    ) -> ConvolutionGrads<FloatTensor<Self>> {
        conv_batch_norm::conv2d_batch_norm_backward::<Self>(recorded, output_grad, layer, to_input)
    }

    /// `scale · x + shift`, with a scale and a shift `[channels]`.
    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        reference::scale_and_shift::<Self>(input, scale, shift, relu)
    }

    /// `max(a + b, 0)` of maps of one shape.
    fn rectified_sum(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::rectified_sum::<Self>(a, b)
    }

    /// What a mask makes of a map, whose images are its rows. Of a map with several times as many rows, as
    /// one of many time steps, each time's are multiplied by the same.
    fn masked(map: FloatTensor<Self>, mask: &Arc<Mask>) -> FloatTensor<Self> {
        reference::masked::<Self>(map, mask)
    }

    /// The gradient before a rectifier, given its output and the gradient behind it.
    fn relu_grad(output: FloatTensor<Self>, output_grad: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::relu_grad::<Self>(output, output_grad)
    }

    /// The mean of each window of `size` × `size`, the windows lying side by side.
    fn average_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        reference::average_pool::<Self>(input, size)
    }

    /// The gradient with respect to the input of [`average_pool`](Self::average_pool), of which the
    /// shape alone is looked at.
    fn average_pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        size: usize,
    ) -> FloatTensor<Self> {
        reference::average_pool_backward::<Self>(input, output_grad, size)
    }

    /// The largest number of each window of `size` × `size`, the windows lying side by side.
    fn maximum_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
        reference::maximum_pool::<Self>(input, size)
    }

    /// The gradient with respect to the input of [`maximum_pool`](Self::maximum_pool).
    fn maximum_pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        size: usize,
    ) -> FloatTensor<Self> {
        reference::maximum_pool_backward::<Self>(input, output_grad, size)
    }

    /// One step of Adam: the new parameter, mean gradient, mean squared gradient, and its largest
    /// value so far where it is kept (AMSGrad). All tensors have one shape; at the first step the
    /// moments are zero.
    fn adam(
        step: AdamStep,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        moments: [FloatTensor<Self>; 2],
        max_square: Option<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2], Option<FloatTensor<Self>>) {
        reference::adam::<Self>(step, parameter, gradient, moments, max_square)
    }

    /// One step of gradient descent: the new parameter and the new buffer of the momentum. All tensors
    /// have one shape; at the first step the buffer is zero.
    fn sgd(
        step: SgdStep,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        buffer: Option<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        reference::sgd::<Self>(step, parameter, gradient, buffer)
    }

    /// The sum of the squares, `[1]`.
    fn sum_of_squares(values: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::sum_of_squares::<Self>(values)
    }
}

/// A primitive as a tensor.
pub(crate) fn from_primitive<B: Backend, const D: usize>(
    primitive: FloatTensor<B>,
) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// A tensor as its primitive.
pub(crate) fn into_primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
