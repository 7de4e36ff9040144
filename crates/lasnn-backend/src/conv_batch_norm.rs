//! A convolution with batch norm as one operation.
//!
//! The default bodies in this file compose it of the other operations of [`DenseBackend`]. CPU
//! backends have kernels that do both in fewer passes over the feature maps.

use burn::tensor::ops::FloatTensor;

use crate::backend::{BatchNormOutput, Convolution, DenseBackend};

/// The options of a convolution without a bias and of the batch norm that follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvBatchNorm {
    /// The convolution.
    pub convolution: Convolution,
    /// The ε of the batch norm, which keeps its division finite.
    pub epsilon: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// The inputs of [`DenseBackend::conv2d_batch_norm`].
#[derive(Clone, Debug)]
pub struct ConvBatchNormInputs<T> {
    /// The feature map `[batch, inputs, height, width]`.
    pub input: T,
    /// The weights `[outputs, inputs, kernel, kernel]`.
    pub weights: T,
    /// The γ of the batch norm, `[outputs]`.
    pub gamma: T,
    /// The β of the batch norm, `[outputs]`.
    pub beta: T,
    /// A feature map of the output's shape that is added before the ReLU, as by a residual block.
    pub added: Option<T>,
}

/// The values that the backward pass of [`DenseBackend::conv2d_batch_norm`] needs.
#[derive(Clone, Debug)]
pub struct SavedForBackward<T> {
    /// The input.
    pub input: T,
    /// The weights.
    pub weights: T,
    /// γ and β.
    pub affine: [T; 2],
    /// Whether a feature map was added before the ReLU.
    pub has_added: bool,
    /// The output of the convolution, in the backend's own format.
    pub conv_output: T,
    /// The results of the forward pass.
    pub result: BatchNormOutput<T>,
}

/// How the backward pass handles the gradient with respect to the input.
#[derive(Clone, Debug)]
pub enum InputGrad<T> {
    /// It does not compute it.
    Skip,
    /// It computes it.
    New,
    /// It computes it and adds it to this gradient, which another branch of the network has
    /// produced for the same input.
    AddTo(T),
}

/// The gradients of [`DenseBackend::conv2d_batch_norm`].
#[derive(Clone, Debug)]
pub struct ConvBatchNormGrads<T> {
    /// With respect to the input; `None` for [`InputGrad::Skip`].
    pub input: Option<T>,
    /// With respect to the weights.
    pub weights: T,
    /// With respect to γ.
    pub gamma: T,
    /// With respect to β.
    pub beta: T,
    /// With respect to the added feature map, if there was one.
    pub added: Option<T>,
}

/// The default body of [`DenseBackend::conv2d_batch_norm`].
pub(crate) fn conv2d_batch_norm<B: DenseBackend>(
    inputs: ConvBatchNormInputs<FloatTensor<B>>,
    layer: ConvBatchNorm,
) -> (BatchNormOutput<FloatTensor<B>>, FloatTensor<B>) {
    let ConvBatchNormInputs { input, weights, gamma, beta, added } = inputs;
    let ConvBatchNorm { convolution, epsilon, relu } = layer;
    let conv_output = B::conv2d_bias_relu(input, weights, None, convolution, false);
    let norm_relu = relu && added.is_none();
    let mut result = B::batch_norm(conv_output.clone(), gamma, beta, epsilon, norm_relu);
    result.output = match added {
        Some(added) if relu => B::add_relu(result.output, added),
        Some(added) => B::float_add(result.output, added),
        None => result.output,
    };
    (result, conv_output)
}

/// The default body of [`DenseBackend::conv2d_batch_norm_backward`].
pub(crate) fn conv2d_batch_norm_backward<B: DenseBackend>(
    saved: SavedForBackward<FloatTensor<B>>,
    output_grad: FloatTensor<B>,
    layer: ConvBatchNorm,
    input_grad: InputGrad<FloatTensor<B>>,
) -> ConvBatchNormGrads<FloatTensor<B>> {
    let SavedForBackward { input, weights, affine, has_added, conv_output, result } = saved;
    let ConvBatchNorm { convolution, epsilon, relu } = layer;
    let grad = if relu { B::relu_grad(result.output, output_grad) } else { output_grad };
    let added = has_added.then(|| grad.clone());
    let statistics = [result.mean, result.variance];
    let [grad, gamma, beta] =
        B::batch_norm_backward(conv_output, affine, statistics, None, grad, epsilon);
    let weights_grad =
        B::conv2d_weight_grad(input.clone(), weights.clone(), grad.clone(), convolution);
    let compute = || B::conv2d_input_grad(input, weights, grad, convolution);
    let input = match input_grad {
        InputGrad::Skip => None,
        InputGrad::New => Some(compute()),
        InputGrad::AddTo(other) => Some(B::float_add(other, compute())),
    };
    ConvBatchNormGrads { input, weights: weights_grad, gamma, beta, added }
}
