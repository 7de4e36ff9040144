//! A convolution with a batch norm behind it, as one operation.
//!
//! What is here composes it out of the other operations of [`DenseBackend`]; CPU backends have kernels
//! that do both in fewer passes over their maps.

use burn::tensor::ops::FloatTensor;

use crate::backend::{Convolution, DenseBackend, Normalised};

/// How a convolution without a bias and the batch norm behind it are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormalisedConvolution {
    /// The convolution.
    pub convolution: Convolution,
    /// What keeps the norm's division finite.
    pub epsilon: f64,
    /// Whether negative outputs become zero.
    pub relu: bool,
}

/// What [`DenseBackend::conv2d_batch_norm`] is given.
#[derive(Clone, Debug)]
pub struct ConvolutionInputs<T> {
    /// Maps `[batch, inputs, height, width]`.
    pub input: T,
    /// Weights `[outputs, inputs, kernel, kernel]`.
    pub weights: T,
    /// The scales γ `[outputs]`.
    pub gamma: T,
    /// The shifts β `[outputs]`.
    pub beta: T,
    /// What is added before the rectifier, of the output's shape.
    pub added: Option<T>,
}

/// What the backward pass of [`DenseBackend::conv2d_batch_norm`] needs.
#[derive(Clone, Debug)]
pub struct Recorded<T> {
    /// Its input.
    pub input: T,
    /// Its weights.
    pub weights: T,
    /// γ and β.
    pub scales: [T; 2],
    /// Whether something was added.
    pub adds: bool,
    /// What is between convolution and norm, in a form of the backend's own.
    pub map: T,
    /// What it gave.
    pub found: Normalised<T>,
}

/// Whether the gradient with respect to the input is asked for.
#[derive(Clone, Debug)]
pub enum InputGrad<T> {
    /// It is not.
    Nothing,
    /// It is.
    New,
    /// It is, as a sum with this one, which came to the same input on another way.
    Sum(T),
}

/// The gradients of [`DenseBackend::conv2d_batch_norm`].
#[derive(Clone, Debug)]
pub struct ConvolutionGrads<T> {
    /// With respect to the input, if that was asked for.
    pub input: Option<T>,
    /// With respect to the weights.
    pub weights: T,
    /// With respect to the scales.
    pub gamma: T,
    /// With respect to the shifts.
    pub beta: T,
    /// With respect to what was added, if something was.
    pub added: Option<T>,
}

/// The body of [`DenseBackend::conv2d_batch_norm`].
pub(crate) fn conv2d_batch_norm<B: DenseBackend>(
    inputs: ConvolutionInputs<FloatTensor<B>>,
    layer: NormalisedConvolution,
) -> (Normalised<FloatTensor<B>>, FloatTensor<B>) {
    let ConvolutionInputs { input, weights, gamma, beta, added } = inputs;
    let NormalisedConvolution { convolution, epsilon, relu } = layer;
    let map = B::conv2d_bias_relu(input, weights, None, convolution, false);
    let alone = relu && added.is_none();
    let mut found = B::batch_norm(map.clone(), gamma, beta, epsilon, alone);
    found.output = match added {
        Some(added) if relu => B::rectified_sum(found.output, added),
        Some(added) => B::float_add(found.output, added),
        None => found.output,
    };
    (found, map)
}

/// The body of [`DenseBackend::conv2d_batch_norm_backward`].
pub(crate) fn conv2d_batch_norm_backward<B: DenseBackend>(
    recorded: Recorded<FloatTensor<B>>,
    output_grad: FloatTensor<B>,
    layer: NormalisedConvolution,
    to_input: InputGrad<FloatTensor<B>>,
) -> ConvolutionGrads<FloatTensor<B>> {
    let Recorded { input, weights, scales, adds, map, found } = recorded;
    let NormalisedConvolution { convolution, epsilon, relu } = layer;
    let grad = if relu { B::relu_grad(found.output, output_grad) } else { output_grad };
    let added = adds.then(|| grad.clone());
    let statistics = [found.mean, found.variance];
    let [grad, gamma, beta] = B::batch_norm_backward(map, scales, statistics, None, grad, epsilon);
    let to_weights =
        B::conv2d_weight_grad(input.clone(), weights.clone(), grad.clone(), convolution);
    let input_grad = || B::conv2d_input_grad(input, weights, grad, convolution);
    let input = match to_input {
        InputGrad::Nothing => None,
        InputGrad::New => Some(input_grad()),
        InputGrad::Sum(other) => Some(B::float_add(other, input_grad())),
    };
    ConvolutionGrads { input, weights: to_weights, gamma, beta, added }
}
