//! Batch norm, alone and after a convolution.

use lasnn_dense_kernels::conv_batch_norm::{self as conv_norm, Gradients, OutputGrad};
use lasnn_dense_kernels::norm::{self, ChannelGrad, Statistics};

use super::{HostTensor, conv_shape, filled, map_shape};
use crate::backend::BatchNormOutput;
use crate::conv_batch_norm::{
    ConvBatchNorm, ConvBatchNormGrads, ConvBatchNormInputs, InputGrad, SavedForBackward,
};

pub(in crate::kernel) fn batch_norm<T: HostTensor>(
    input: &T,
    gamma: &T,
    beta: &T,
    epsilon: f64,
    relu: bool,
) -> BatchNormOutput<T> {
    let shape = map_shape(input);
    let mut statistics = Vec::new();
    let output = filled(input.shape(), |output| {
        let (gamma, beta) = (gamma.read(), beta.read());
        let input = input.read();
        statistics = norm::forward(shape, &input, [&gamma, &beta], epsilon as f32, relu, output);
    });
    batch_norm_output(output, &statistics)
}

pub(in crate::kernel) fn batch_norm_backward<T: HostTensor>(
    input: &T,
    [gamma, beta]: [&T; 2],
    [mean, variance]: [&T; 2],
    relu: bool,
    output_grad: &T,
    epsilon: f64,
) -> [T; 3] {
    let shape = map_shape(input);
    let statistics = statistics(mean, variance);
    let mut channels = Vec::new();
    let input_grad = filled(input.shape(), |grad| {
        let layer = norm::Recorded {
            shape,
            input: &input.read(),
            gamma: &gamma.read(),
            statistics: &statistics,
            epsilon: epsilon as f32,
        };
        let beta = relu.then(|| beta.read());
        channels = norm::backward(&layer, beta.as_deref(), &output_grad.read(), grad);
    });
    let [gamma, beta] = channel_grads(&channels);
    [input_grad, gamma, beta]
}

fn kernel_layer<T: HostTensor>(
    input: &T,
    weights: &T,
    layer: ConvBatchNorm,
) -> conv_norm::ConvBatchNorm {
    let ConvBatchNorm { convolution, epsilon, relu } = layer;
    let conv = conv_shape(input, weights, convolution);
    let precision = convolution.precision;
    conv_norm::ConvBatchNorm { conv, precision, epsilon: epsilon as f32, relu }
}

pub(in crate::kernel) fn conv2d_batch_norm<T: HostTensor>(
    inputs: &ConvBatchNormInputs<T>,
    layer: ConvBatchNorm,
) -> (BatchNormOutput<T>, T) {
    let ConvBatchNormInputs { input, weights, gamma, beta, added } = inputs;
    let layer = kernel_layer(input, weights, layer);
    let conv = layer.conv;
    let shape = [conv.batch, conv.outputs, conv.output_height(), conv.output_width()];
    let mut statistics = Vec::new();
    let mut output = T::buffer(shape.iter().product());
    let conv_output = filled([layer.saved_len()], |conv_output| {
        let added = added.as_ref().map(T::read);
        let inputs = [&*input.read(), &*weights.read()];
        let affine = [&*gamma.read(), &*beta.read()];
        let outputs = [conv_output, &mut output];
        statistics = conv_norm::forward(layer, inputs, affine, added.as_deref(), outputs);
    });
    (batch_norm_output(T::write(output, shape.into()), &statistics), conv_output)
}

pub(in crate::kernel) fn conv2d_batch_norm_backward<T: HostTensor>(
    saved: &SavedForBackward<T>,
    output_grad: T,
    layer: ConvBatchNorm,
    input_grad: InputGrad<T>,
) -> ConvBatchNormGrads<T> {
    let SavedForBackward { input, weights, affine: [gamma, beta], has_added, conv_output, result } =
        saved;
    let layer = kernel_layer(input, weights, layer);
    let adds = matches!(input_grad, InputGrad::AddTo(_));
    let mut input_grad = match input_grad {
        InputGrad::Skip => None,
        InputGrad::New => Some(T::write(T::buffer(input.shape().num_elements()), input.shape())),
        InputGrad::AddTo(other) => Some(other.contiguous()),
    };
    // The kernel overwrites the gradient after the ReLU by the one before it, which is also the
    // gradient with respect to `added`.
    let mut output_grad = output_grad.contiguous();
    let mut channels = Vec::new();
    let weights_grad = filled(weights.shape(), |grad| {
        let input_grad =
            input_grad.as_mut().map(|to| conv_norm::InputGrad { to: to.elements_mut(), adds });
        let to = Gradients { input: input_grad, weights: grad };
        let saved = conv_norm::Recorded {
            input: &input.read(),
            weights: &weights.read(),
            scales: [&gamma.read(), &beta.read()],
            saved: &conv_output.read(),
            statistics: &statistics(&result.mean, &result.variance),
        };
        channels = match *has_added && layer.relu {
            true => {
                let output = &result.output.read();
                let output_grad = OutputGrad::Added { grad: output_grad.elements_mut(), output };
                conv_norm::backward(layer, &saved, output_grad, to)
            }
            false => {
                let output_grad = output_grad.read();
                conv_norm::backward(layer, &saved, OutputGrad::Whole(&output_grad), to)
            }
        };
    });
    let [gamma, beta] = channel_grads(&channels);
    ConvBatchNormGrads {
        input: input_grad,
        weights: weights_grad,
        gamma,
        beta,
        added: has_added.then_some(output_grad),
    }
}

fn batch_norm_output<T: HostTensor>(output: T, statistics: &[Statistics]) -> BatchNormOutput<T> {
    let per_channel = |value: fn(&Statistics) -> f32| {
        T::write(statistics.iter().map(value).collect(), [statistics.len()].into())
    };
    BatchNormOutput { output, mean: per_channel(|s| s.mean), variance: per_channel(|s| s.variance) }
}

fn statistics<T: HostTensor>(mean: &T, variance: &T) -> Vec<Statistics> {
    let (mean, variance) = (mean.read(), variance.read());
    let both = mean.iter().zip(&variance[..]);
    both.map(|(&mean, &variance)| Statistics { mean, variance }).collect()
}

/// The gradients with respect to γ and β.
fn channel_grads<T: HostTensor>(channels: &[ChannelGrad]) -> [T; 2] {
    let values: [fn(&ChannelGrad) -> f32; 2] = [|channel| channel.gamma, |channel| channel.beta];
    values.map(|value| T::write(channels.iter().map(value).collect(), [channels.len()].into()))
}
