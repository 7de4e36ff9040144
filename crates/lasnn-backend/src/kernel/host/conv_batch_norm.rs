//! Batch norms, alone and behind convolutions.

use lasnn_dense_kernels::conv_batch_norm::{
    self as conv_norm, ConvBatchNorm, Gradients, OutputGrad,
};
use lasnn_dense_kernels::norm::{self, ChannelGrad, Statistics};

use super::{HostTensor, conv_shape, map_shape, written};
use crate::backend::Normalised;
use crate::conv_batch_norm::{
    ConvolutionGrads, ConvolutionInputs, InputGrad, NormalisedConvolution, Recorded,
};

pub(in crate::kernel) fn batch_norm<T: HostTensor>(
    input: &T,
    gamma: &T,
    beta: &T,
    epsilon: f64,
    relu: bool,
) -> Normalised<T> {
    let shape = map_shape(input);
    let mut statistics = Vec::new();
    let output = written(input.shape(), |output| {
        let (gamma, beta) = (gamma.read(), beta.read());
        let input = input.read();
        statistics = norm::forward(shape, &input, [&gamma, &beta], epsilon as f32, relu, output);
    });
    conv_batch_norm(output, &statistics)
}

pub(in crate::kernel) fn batch_norm_backward<T: HostTensor>(
    input: &T,
    [gamma, beta]: [&T; 2],
    [mean, variance]: [&T; 2],
    rectified: bool,
    output_grad: &T,
    epsilon: f64,
) -> [T; 3] {
    let shape = map_shape(input);
    let statistics = statistics(mean, variance);
    let mut channels = Vec::new();
    let input_grad = written(input.shape(), |grad| {
        let layer = norm::Recorded {
            shape,
            input: &input.read(),
            gamma: &gamma.read(),
            statistics: &statistics,
            epsilon: epsilon as f32,
        };
        let beta = rectified.then(|| beta.read());
        channels = norm::backward(&layer, beta.as_deref(), &output_grad.read(), grad);
    });
    let [gamma, beta] = channel_grads(&channels);
    [input_grad, gamma, beta]
}

fn layer<T: HostTensor>(input: &T, weights: &T, layer: NormalisedConvolution) -> ConvBatchNorm {
    let NormalisedConvolution { convolution, epsilon, relu } = layer;
    let conv = conv_shape(input, weights, convolution);
    let precision = convolution.precision;
    ConvBatchNorm { conv, precision, epsilon: epsilon as f32, relu }
}

pub(in crate::kernel) fn conv2d_batch_norm<T: HostTensor>(
    inputs: &ConvolutionInputs<T>,
    convolution: NormalisedConvolution,
) -> (Normalised<T>, T) {
    let ConvolutionInputs { input, weights, gamma, beta, added } = inputs;
    let layer = layer(input, weights, convolution);
    let conv = layer.conv;
    let shape = [conv.batch, conv.outputs, conv.output_height(), conv.output_width()];
    let mut statistics = Vec::new();
    let mut output = T::room(shape.iter().product());
    let map = written([layer.saved_len()], |map| {
        let added = added.as_ref().map(T::read);
        let inputs = [&*input.read(), &*weights.read()];
        let scales = [&*gamma.read(), &*beta.read()];
        let maps = [map, &mut output];
        statistics = conv_norm::forward(layer, inputs, scales, added.as_deref(), maps);
    });
    (conv_batch_norm(T::write(output, shape.into()), &statistics), map)
}

pub(in crate::kernel) fn conv2d_batch_norm_backward<T: HostTensor>(
    recorded: &Recorded<T>,
    output_grad: T,
    convolution: NormalisedConvolution,
    to_input: InputGrad<T>,
) -> ConvolutionGrads<T> {
    let Recorded { input, weights, scales: [gamma, beta], adds, map, found } = recorded;
    let layer = layer(input, weights, convolution);
    let adds_input = matches!(to_input, InputGrad::Sum(_));
    let mut input_grad = match to_input {
        InputGrad::Nothing => None,
        InputGrad::New => Some(T::write(T::room(input.shape().num_elements()), input.shape())),
        InputGrad::Sum(other) => Some(other.contiguous()),
    };
    // Before a rectifier the gradient is another one than behind it.
    let mut output_grad = output_grad.contiguous();
    let mut channels = Vec::new();
    let weights_grad = written(weights.shape(), |grad| {
        let to_input = input_grad
            .as_mut()
            .map(|to| conv_norm::InputGrad { to: to.elements_mut(), adds: adds_input });
        let to = Gradients { input: to_input, weights: grad };
        let recorded = conv_norm::Recorded {
            input: &input.read(),
            weights: &weights.read(),
            scales: [&gamma.read(), &beta.read()],
            saved: &map.read(),
            statistics: &statistics(&found.mean, &found.variance),
        };
        channels = match *adds && layer.relu {
            true => {
                let output = &found.output.read();
                let output_grad = OutputGrad::Added { grad: output_grad.elements_mut(), output };
                conv_norm::backward(layer, &recorded, output_grad, to)
            }
            false => {
                let output_grad = output_grad.read();
                conv_norm::backward(layer, &recorded, OutputGrad::Whole(&output_grad), to)
            }
        };
    });
    let [gamma, beta] = channel_grads(&channels);
    ConvolutionGrads {
        input: input_grad,
        weights: weights_grad,
        gamma,
        beta,
        added: adds.then_some(output_grad),
    }
}

fn conv_batch_norm<T: HostTensor>(output: T, statistics: &[Statistics]) -> Normalised<T> {
    let per_channel = |number: fn(&Statistics) -> f32| {
        T::write(statistics.iter().map(number).collect(), [statistics.len()].into())
    };
    Normalised { output, mean: per_channel(|s| s.mean), variance: per_channel(|s| s.variance) }
}

fn statistics<T: HostTensor>(mean: &T, variance: &T) -> Vec<Statistics> {
    let (mean, variance) = (mean.read(), variance.read());
    let both = mean.iter().zip(&variance[..]);
    both.map(|(&mean, &variance)| Statistics { mean, variance }).collect()
}

/// The gradients of γ and β.
fn channel_grads<T: HostTensor>(channels: &[ChannelGrad]) -> [T; 2] {
    let numbers: [fn(&ChannelGrad) -> f32; 2] = [|channel| channel.gamma, |channel| channel.beta];
    numbers.map(|number| T::write(channels.iter().map(number).collect(), [channels.len()].into()))
}
