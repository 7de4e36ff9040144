//! GPUs: Burn's own kernels. For convolutions the one that multiplies in tensor cores is asked for by
//! name, since the one that Burn takes unasked was three to seven times as slow on an H100 (`results/gpu`).
//! It multiplies in TF32 there, whatever the precision, and is an error where a device has no such cores.
//!
//! Burn can also find the fastest by trying them all (`autotune`). Which one that is depends on the clock,
//! so the same recipe would give other numbers in another run.

use burn::tensor::ops::{ActivationOps, FloatTensor};
use burn_cubecl::kernel::conv::{
    ConvStrategy, conv_data_backward, conv_forward, conv_weight_backward,
};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use crate::backend::{Convolution, DenseBackend};
use crate::reference;

impl<R, F, I, BT> DenseBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn convolve(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        convolution: Convolution,
        rectify: bool,
    ) -> FloatTensor<Self> {
        let fast = conv_forward(
            input.clone(),
            weights.clone(),
            bias.clone(),
            convolution.options(),
            ConvStrategy::ImplicitGemm,
        );
        match fast {
            Ok(output) if rectify => Self::relu(output),
            Ok(output) => output,
            Err(_) => reference::convolve::<Self>(input, weights, bias, convolution, rectify),
        }
    }

    fn convolve_input_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        let fast = conv_data_backward(
            output_grad.clone(),
            weights.clone(),
            input.meta.shape().clone(),
            convolution.options(),
            ConvStrategy::ImplicitGemm,
        );
        fast.unwrap_or_else(|_| {
            reference::convolve_input_grad::<Self>(input, weights, output_grad, convolution)
        })
    }

    fn convolve_weight_grad(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        convolution: Convolution,
    ) -> FloatTensor<Self> {
        let fast = conv_weight_backward(
            input.clone(),
            output_grad.clone(),
            weights.meta.shape().clone(),
            convolution.options(),
            ConvStrategy::ImplicitGemm,
        );
        fast.unwrap_or_else(|_| {
            reference::convolve_weight_grad::<Self>(input, weights, output_grad, convolution)
        })
    }
}
