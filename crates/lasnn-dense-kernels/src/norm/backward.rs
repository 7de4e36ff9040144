//! The gradients of a batch norm.

use rayon::prelude::*;

use super::loops::{Line, combine, correlate, open};
use super::{MapShape, PLANES, Statistics};
use crate::relu::relu_backward_in_place;
use crate::stored_float::StoredFloat;

/// The gradients of one channel's scale and shift.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelGrad {
    /// With respect to γ.
    pub gamma: f32,
    /// With respect to β.
    pub beta: f32,
}

/// What the backward pass of a batch norm needs from its forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a, N = f32> {
    /// The sizes of the input.
    pub shape: MapShape,
    /// The input.
    pub input: &'a [N],
    /// The scale γ of each channel.
    pub gamma: &'a [f32],
    /// The statistics of each channel.
    pub statistics: &'a [Statistics],
    /// Added to the variance, so that the division is finite.
    pub epsilon: f32,
}

impl<N: StoredFloat> Recorded<'_, N> {
    fn check(&self, output_grad: &[f32]) {
        let Recorded { shape, input, gamma, statistics, .. } = self;
        assert_eq!(
            [input.len(), output_grad.len()],
            [shape.elements(); 2],
            "elements of {shape:?}"
        );
        assert_eq!([gamma.len(), statistics.len()], [shape.channels; 2], "channels of {shape:?}");
    }

    /// The line that computes the input of the ReLU again, given the β of each channel. Without
    /// ReLU, a line that is positive everywhere.
    fn relu_line(&self, beta: Option<&[f32]>, channel: usize) -> Line {
        let found = self.statistics[channel];
        let scale = || found.scale(self.gamma[channel], self.epsilon);
        beta.map_or_else(|| open(found.mean), |beta| [found.mean, scale(), beta[channel]])
    }

    /// The planes of a channel with their output gradients.
    fn planes<'a>(
        &'a self,
        output_grad: &'a [f32],
        channel: usize,
    ) -> impl Iterator<Item = (&'a [N], &'a [f32])> {
        self.shape.planes(self.input, channel).zip(self.shape.planes(output_grad, channel))
    }

    /// The gradients of γ and β of a channel, and the factors that [`combine`] needs.
    ///
    /// The arguments are the sum of the gradients of the channel, and the sum of their products
    /// with `x - µ`.
    fn channel(&self, channel: usize, [beta, product]: [f32; 2]) -> (ChannelGrad, [f32; 3]) {
        let count = (self.shape.batch * self.shape.positions) as f32;
        let Statistics { mean, variance } = self.statistics[channel];
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        let found = ChannelGrad { gamma: product * inverse, beta };
        let scale = self.gamma[channel] * inverse;
        // scale · (dy - dβ / n - x̂ · dγ / n), with x̂ = (x - µ) · inverse
        let by_input = -scale * found.gamma * inverse / count;
        let constant = -scale * beta / count - by_input * mean;
        (found, [scale, by_input, constant])
    }
}

/// Writes the gradient with respect to the input of [`forward`](super::forward) to `input_grad`,
/// given the gradient with respect to its output. Returns the gradients with respect to γ and β of
/// each channel.
///
/// If the forward pass had a ReLU, `beta` must be the shift β of each channel. It is used to find
/// the outputs that the ReLU set to zero.
///
/// # Panics
///
/// Panics if the length of a slice does not match the shape of the layer.
pub fn backward(
    layer: &Recorded<'_>,
    beta: Option<&[f32]>,
    output_grad: &[f32],
    input_grad: &mut [f32],
) -> Vec<ChannelGrad> {
    layer.check(output_grad);
    assert_eq!(input_grad.len(), layer.shape.elements(), "elements of {:?}", layer.shape);
    let channel = |(channel, targets): (usize, Vec<&mut [f32]>)| {
        let planes = || layer.planes(output_grad, channel);
        let relu_line = layer.relu_line(beta, channel);
        let sums = total(planes().map(|(x, grads)| correlate(x, grads, relu_line)));
        let (found, factors) = layer.channel(channel, sums);
        for ((x, grads), target) in planes().zip(targets) {
            combine(x, grads, relu_line, factors, target);
        }
        found
    };
    layer.shape.planes_mut(input_grad).into_par_iter().enumerate().map(channel).collect()
}

/// The gradient with respect to the output of a batch norm with an optional ReLU and an optional
/// added feature map.
#[derive(Debug)]
pub enum OutputGrad<'a> {
    /// Nothing was added. The backward pass computes the gradient of the ReLU, if there is one.
    Whole(&'a [f32]),
    /// A feature map was added between the batch norm and the ReLU.
    Added {
        /// The gradient with respect to the output. The backward pass replaces it by the gradient
        /// with respect to the input of the ReLU, which is the gradient of the added feature map.
        grad: &'a mut [f32],
        /// The output of the ReLU.
        output: &'a [f32],
    },
}

impl OutputGrad<'_> {
    fn elements(&self) -> &[f32] {
        match self {
            Self::Whole(grad) => grad,
            Self::Added { grad, .. } => grad,
        }
    }
}

/// The gradient with respect to the input of a batch norm, plane by plane.
pub(crate) struct InputGrads<'a, N> {
    layer: Recorded<'a, N>,
    output_grad: &'a [f32],
    channels: Vec<(Line, [f32; 3])>,
}

impl<'a, N: StoredFloat> InputGrads<'a, N> {
    /// Computes the sums over each channel, and from them the gradients of γ and β, which it
    /// returns.
    ///
    /// `beta` must be given if a ReLU follows the batch norm without an added feature map.
    ///
    /// # Panics
    ///
    /// Panics if the length of a slice does not match the shape of the layer.
    pub fn new(
        layer: Recorded<'a, N>,
        beta: Option<&[f32]>,
        output_grad: OutputGrad<'a>,
    ) -> (Vec<ChannelGrad>, Self) {
        layer.check(output_grad.elements());
        let shape = layer.shape;
        let lines: Vec<Line> = (0..shape.channels).map(|at| layer.relu_line(beta, at)).collect();
        // First walk through planes in the order of memory, then add up the planes of each channel.
        let size = shape.positions;
        let xs = || layer.input.par_chunks(size).enumerate().with_min_len(PLANES);
        let relu_line = |number: usize| lines[number % shape.channels];
        let (planes, output_grad): (Vec<[f32; 2]>, &[f32]) = match output_grad {
            OutputGrad::Whole(grad) => {
                let planes = xs().zip(grad.par_chunks(size));
                let sums =
                    planes.map(|((number, x), grads)| correlate(x, grads, relu_line(number)));
                (sums.collect(), grad)
            }
            OutputGrad::Added { grad, output } => {
                assert_eq!(output.len(), shape.elements(), "elements of {shape:?}");
                let planes = xs().zip(output.par_chunks(size)).zip(grad.par_chunks_mut(size));
                let sums = planes.map(|(((number, x), output), grads)| {
                    relu_backward_in_place(grads, output);
                    correlate(x, grads, relu_line(number))
                });
                (sums.collect(), grad)
            }
        };
        let of = |channel| planes.iter().copied().skip(channel).step_by(shape.channels);
        let sums = (0..shape.channels).map(|channel| total(of(channel)));
        let channels = sums.enumerate().map(|(at, sums)| layer.channel(at, sums));
        let (found, factors): (Vec<_>, Vec<_>) = channels.unzip();
        (found, Self { layer, output_grad, channels: lines.into_iter().zip(factors).collect() })
    }

    /// Writes the gradient of one plane, channel `number % channels` of image `number / channels`.
    pub fn plane(&self, number: usize, target: &mut [f32]) {
        let shape = self.layer.shape;
        let plane = number * shape.positions..(number + 1) * shape.positions;
        let (input, grads) = (&self.layer.input[plane.clone()], &self.output_grad[plane]);
        let (relu_line, factors) = self.channels[number % shape.channels];
        combine(input, grads, relu_line, factors, target);
    }
}

/// The sums over all planes, in their order.
fn total(planes: impl Iterator<Item = [f32; 2]>) -> [f32; 2] {
    planes.fold([0.0; 2], |[sum, product], [a, b]| [sum + a, product + b])
}
