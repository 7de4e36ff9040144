//! Sends `f32` tensors of a CPU backend to the kernels, and all other types to the reference. Only
//! tests have tensors of other types.

/// The methods of [`DenseBackend`](crate::DenseBackend) for a backend whose tensors implement
/// [`HostTensor`](super::host::HostTensor).
macro_rules! dense_on_host {
    () => {
        fn conv2d_bias_relu(
            input: FloatTensor<Self>,
            weights: FloatTensor<Self>,
            bias: Option<FloatTensor<Self>>,
            convolution: Convolution,
            relu: bool,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::conv2d(&input, &weights, bias.as_ref(), convolution, relu),
                _ => reference::conv2d::<Self>(input, weights, bias, convolution, relu),
            }
        }

        fn conv2d_input_grad(
            input: FloatTensor<Self>,
            weights: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
            convolution: Convolution,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::conv2d_input_grad(&input, &weights, &output_grad, convolution),
                _ => reference::conv2d_input_grad::<Self>(input, weights, output_grad, convolution),
            }
        }

        fn conv2d_weight_grad(
            input: FloatTensor<Self>,
            weights: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
            convolution: Convolution,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::conv2d_weight_grad(&input, &weights, &output_grad, convolution),
                _ => {
                    reference::conv2d_weight_grad::<Self>(input, weights, output_grad, convolution)
                }
            }
        }

        fn channel_sums(input: FloatTensor<Self>) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::channel_sums(&input),
                _ => reference::channel_sums::<Self>(input),
            }
        }

        fn linear_bias_relu(
            input: FloatTensor<Self>,
            weights: FloatTensor<Self>,
            bias: Option<FloatTensor<Self>>,
            precision: Precision,
            relu: bool,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::linear(&input, &weights, bias.as_ref(), precision, relu),
                _ => reference::linear::<Self>(input, weights, bias, relu),
            }
        }

        fn linear_input_grad(
            weights: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
            precision: Precision,
        ) -> FloatTensor<Self> {
            match output_grad.dtype() {
                DType::F32 => host::linear_input_grad(&weights, &output_grad, precision),
                _ => reference::linear_input_grad::<Self>(weights, output_grad),
            }
        }

        fn linear_weight_grad(
            input: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
            precision: Precision,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::linear_weight_grad(&input, &output_grad, precision),
                _ => reference::linear_weight_grad::<Self>(input, output_grad),
            }
        }

        fn batch_norm(
            input: FloatTensor<Self>,
            gamma: FloatTensor<Self>,
            beta: FloatTensor<Self>,
            epsilon: f64,
            relu: bool,
        ) -> BatchNormOutput<FloatTensor<Self>> {
            match input.dtype() {
                DType::F32 => host::batch_norm(&input, &gamma, &beta, epsilon, relu),
                _ => reference::batch_norm::<Self>(input, gamma, beta, epsilon, relu),
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
            match input.dtype() {
                DType::F32 => host::batch_norm_backward(
                    &input,
                    [&affine[0], &affine[1]],
                    [&statistics[0], &statistics[1]],
                    output.is_some(),
                    &output_grad,
                    epsilon,
                ),
                _ => reference::batch_norm_backward::<Self>(
                    input,
                    affine,
                    statistics,
                    output,
                    output_grad,
                    epsilon,
                ),
            }
        }

        fn conv2d_batch_norm(
            inputs: ConvBatchNormInputs<FloatTensor<Self>>,
            layer: ConvBatchNorm,
        ) -> (BatchNormOutput<FloatTensor<Self>>, FloatTensor<Self>) {
            match inputs.input.dtype() {
                DType::F32 => host::conv2d_batch_norm(&inputs, layer),
                _ => conv_batch_norm::conv2d_batch_norm::<Self>(inputs, layer),
            }
        }

        fn conv2d_batch_norm_backward(
            saved: SavedForBackward<FloatTensor<Self>>,
            grad: FloatTensor<Self>,
            layer: ConvBatchNorm,
            input_grad: InputGrad<FloatTensor<Self>>,
        ) -> ConvBatchNormGrads<FloatTensor<Self>> {
            match grad.dtype() {
                DType::F32 => host::conv2d_batch_norm_backward(&saved, grad, layer, input_grad),
                _ => conv_batch_norm::conv2d_batch_norm_backward::<Self>(
                    saved, grad, layer, input_grad,
                ),
            }
        }

        fn scale_and_shift(
            input: FloatTensor<Self>,
            scale: FloatTensor<Self>,
            shift: FloatTensor<Self>,
            relu: bool,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::scale_and_shift(&input, &scale, &shift, relu),
                _ => reference::scale_and_shift::<Self>(input, scale, shift, relu),
            }
        }

        fn add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
            match a.dtype() {
                DType::F32 => host::add_relu(&a, &b),
                _ => reference::add_relu::<Self>(a, b),
            }
        }

        fn masked(input: FloatTensor<Self>, mask: &Arc<Mask>) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::masked(&input, mask),
                _ => reference::masked::<Self>(input, mask),
            }
        }

        fn relu_grad(
            output: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
        ) -> FloatTensor<Self> {
            match output.dtype() {
                DType::F32 => host::relu_grad(&output, &output_grad),
                _ => reference::relu_grad::<Self>(output, output_grad),
            }
        }

        fn average_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::average_pool(&input, size),
                _ => reference::average_pool::<Self>(input, size),
            }
        }

        fn average_pool_backward(
            input: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
            size: usize,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::average_pool_backward(&input, &output_grad, size),
                _ => reference::average_pool_backward::<Self>(input, output_grad, size),
            }
        }

        fn max_pool(input: FloatTensor<Self>, size: usize) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::max_pool(&input, size),
                _ => reference::max_pool::<Self>(input, size),
            }
        }

        fn max_pool_backward(
            input: FloatTensor<Self>,
            output_grad: FloatTensor<Self>,
            size: usize,
        ) -> FloatTensor<Self> {
            match input.dtype() {
                DType::F32 => host::max_pool_backward(&input, &output_grad, size),
                _ => reference::max_pool_backward::<Self>(input, output_grad, size),
            }
        }

        fn adam(
            step: AdamStep,
            parameter: FloatTensor<Self>,
            gradient: FloatTensor<Self>,
            moments: [FloatTensor<Self>; 2],
            max_square: Option<FloatTensor<Self>>,
        ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2], Option<FloatTensor<Self>>) {
            match parameter.dtype() {
                DType::F32 => host::adam(&step, parameter, &gradient, moments, max_square),
                _ => reference::adam::<Self>(step, parameter, gradient, moments, max_square),
            }
        }

        fn sgd(
            step: SgdStep,
            parameter: FloatTensor<Self>,
            gradient: FloatTensor<Self>,
            buffer: Option<FloatTensor<Self>>,
        ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
            match parameter.dtype() {
                DType::F32 => host::sgd(&step, parameter, &gradient, buffer),
                _ => reference::sgd::<Self>(step, parameter, gradient, buffer),
            }
        }

        fn sum_of_squares(values: FloatTensor<Self>) -> FloatTensor<Self> {
            match values.dtype() {
                DType::F32 => host::sum_of_squares(&values),
                _ => reference::sum_of_squares::<Self>(values),
            }
        }
    };
}

pub(super) use dense_on_host;
