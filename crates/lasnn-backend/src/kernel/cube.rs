//! GPU backends: Burn's kernels, and kernels in CubeCL where Burn's are slow or many.
//!
//! Convolutions run Burn's implicit matrix product, which uses tensor cores. Burn's default, the
//! direct convolution, was three to seven times as slow on an H100
//! (`results/2026-11-27-gpu-h200`). The implicit matrix product multiplies in TF32 there, whatever
//! the precision, and returns an error on a device without tensor cores. The reference runs in that
//! case.
//!
//! Burn can also measure all its convolutions and run the fastest (`autotune`). That choice depends
//! on timing, so the same recipe would give other numbers in another run.

mod input_grad;
mod launch;
mod mask;
mod norm;
mod optimizer;
mod pool;
mod sums;
mod weight_grad;

use std::sync::Arc;

use burn::tensor::ops::{ActivationOps, FloatTensor, FloatTensorOps, IntTensorOps};
use burn::tensor::{Shape, TensorData};
use burn_cubecl::kernel::conv::{ConvStrategy, conv_data_backward, conv_forward};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use lasnn_core::Mask;
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

use self::launch::elements;
use crate::backend::{BatchNormOutput, Convolution, DenseBackend, from_primitive, into_primitive};
use crate::reference;

impl<R, F, I, BT> DenseBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn conv2d_bias_relu(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        convolution: Convolution,
        relu: bool,
    ) -> FloatTensor<Self> {
        let product = conv_forward(
            input.clone(),
            weights.clone(),
            bias.clone(),
            convolution.options(),
            ConvStrategy::ImplicitGemm,
        );
        match product {
            Ok(output) if relu => Self::relu(output),
            Ok(output) => output,
            Err(_) => reference::conv2d::<Self>(input, weights, bias, convolution, relu),
        }
    }

    fn conv2d_input_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        let shape = input.meta.shape().clone();
        let [_, _, height, width] = shape.dims();
        let [_, _, kernel, _] = weights.meta.shape().dims();
        let Convolution { stride, padding, .. } = convolution;
        let (output_grad, convolution) = match stride {
            1 => (output_grad, convolution),
            _ => {
                let plane = [height, width].map(|size| size + 2 * padding + 1 - kernel);
                let dilated = input_grad::dilate(output_grad, plane, stride);
                (dilated, Convolution { stride: 1, ..convolution })
            }
        };
        let product = conv_data_backward(
            output_grad.clone(),
            weights.clone(),
            shape,
            convolution.options(),
            ConvStrategy::ImplicitGemm,
        );
        product.unwrap_or_else(|_| {
            reference::conv2d_input_grad::<Self>(input, weights, output_grad, convolution)
        })
    }

    fn conv2d_weight_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        let shape = weights.meta.shape().dims();
        weight_grad::weight_grad::<R, Self>(input, output_grad, shape, convolution)
            .unwrap_or_else(|| Self::float_mul_scalar(weights, 0.0.into()))
    }

    fn channel_sums(input: FloatTensor<Self>) -> FloatTensor<Self> {
        match elements(&input) {
            0 => reference::channel_sums::<Self>(input),
            _ => norm::channel_sums(input),
        }
    }

    fn batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> BatchNormOutput<FloatTensor<Self>> {
        match elements(&input) {
            0 => reference::batch_norm::<Self>(input, gamma, beta, epsilon, relu),
            _ => norm::batch_norm(input, [gamma, beta], epsilon, relu),
        }
    }

    fn batch_norm_backward(
        input: FloatTensor<Self>,
        affine: [FloatTensor<Self>; 2],
        statistics: [FloatTensor<Self>; 2],
        output: Option<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3] {
        let grad = match output {
            Some(output) => Self::relu_grad(output, output_grad),
            None => output_grad,
        };
        match elements(&input) {
            0 => reference::batch_norm_backward::<Self>(
                input, affine, statistics, None, grad, epsilon,
            ),
            _ => {
                let [gamma, _] = affine;
                norm::batch_norm_backward(input, gamma, statistics, grad, epsilon)
            }
        }
    }

    fn scale_and_shift(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        match elements(&input) {
            0 => input,
            _ => norm::scale_and_shift(input, [scale, shift], relu),
        }
    }

    fn masked(input: FloatTensor<Self>, mask: &Arc<Mask>) -> FloatTensor<Self> {
        if elements(&input) == 0 {
            return input;
        }
        let rows = mask.rows();
        let words = rows.words().iter().flat_map(|&word| [word as u32, (word >> 32) as u32]);
        let words: Vec<u32> = words.collect();
        let shape = Shape::new([words.len()]);
        let words = Self::int_from_data(TensorData::new(words, shape), &input.device);
        mask::masked(input, words, [rows.row(), 2 * rows.words_of_row()], rows.factor())
    }

    fn max_pool_backward(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        size: usize,
    ) -> FloatTensor<Self> {
        match elements(&input) {
            0 => input,
            _ => pool::max_pool_backward(input, output_grad, size),
        }
    }

    fn adam(
        step: AdamStep,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        moments: [FloatTensor<Self>; 2],
        max_square: Option<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2], Option<FloatTensor<Self>>) {
        let new_max_square = max_square.map(|previous| {
            move |square| {
                into_primitive(from_primitive::<Self, 1>(previous).max_pair(from_primitive(square)))
            }
        });
        optimizer::adam(step, parameter, gradient, moments, new_max_square)
    }

    fn sgd(
        step: SgdStep,
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        buffer: Option<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        match buffer {
            None => reference::sgd::<Self>(step, parameter, gradient, None),
            Some(buffer) => {
                let (parameter, buffer) = optimizer::sgd(step, parameter, gradient, buffer);
                (parameter, Some(buffer))
            }
        }
    }

    fn sum_of_squares(values: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_sum_dim(sums::partial_sums_of_squares(values), 0)
    }
}
