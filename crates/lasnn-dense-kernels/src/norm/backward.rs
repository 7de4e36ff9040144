//! The gradients of a batch norm.

use rayon::prelude::*;

use super::super::kept::Kept;
use super::super::relu::relu_grad_in_place;
use super::loops::{Gate, combine, correlate, open};
use super::{MapShape, Statistics, TOGETHER};

/// The gradients of one channel's scale and shift.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelGrad {
    /// With respect to γ.
    pub gamma: f32,
    /// With respect to β.
    pub beta: f32,
}

/// A batch norm whose forward pass is done.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a, N = f32> {
    /// The sizes of its input.
    pub shape: MapShape,
    /// Its input.
    pub input: &'a [N],
    /// The scales γ.
    pub gamma: &'a [f32],
    /// What the forward pass found.
    pub statistics: &'a [Statistics],
    /// What keeps the division finite.
    pub epsilon: f32,
}

impl<N: Kept> Layer<'_, N> {
    fn check(&self, output_grad: &[f32]) {
        let Layer { shape, input, gamma, statistics, .. } = self;
        assert_eq!(
            [input.len(), output_grad.len()],
            [shape.elements(); 2],
            "elements of {shape:?}"
        );
        assert_eq!([gamma.len(), statistics.len()], [shape.channels; 2], "channels of {shape:?}");
    }

    /// What a channel lets through, given its β where it is rectified.
    fn relu_grad(&self, beta: Option<&[f32]>, channel: usize) -> Gate {
        let found = self.statistics[channel];
        let scale = || found.scale(self.gamma[channel], self.epsilon);
        beta.map_or_else(|| open(found.mean), |beta| [found.mean, scale(), beta[channel]])
    }

    /// The planes of a channel with the gradients behind them.
    fn planes<'a>(
        &'a self,
        output_grad: &'a [f32],
        channel: usize,
    ) -> impl Iterator<Item = (&'a [N], &'a [f32])> {
        self.shape.planes(self.input, channel).zip(self.shape.planes(output_grad, channel))
    }

    /// The gradients of γ and β of a channel, and the factors of its input's gradient, given the sums of
    /// its gradients and of their products with `x - µ`.
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

/// Writes the gradient with respect to the input of [`forward`](super::forward) to `input_grad`, and
/// returns those of γ and β. `beta` are the shifts, given where the output was rectified: what was below
/// zero is found again.
///
/// # Panics
///
/// Panics if a slice has not the elements that the layer's shape says.
pub fn backward(
    layer: &Layer<'_>,
    beta: Option<&[f32]>,
    output_grad: &[f32],
    input_grad: &mut [f32],
) -> Vec<ChannelGrad> {
    layer.check(output_grad);
    assert_eq!(input_grad.len(), layer.shape.elements(), "elements of {:?}", layer.shape);
    let channel = |(channel, targets): (usize, Vec<&mut [f32]>)| {
        let planes = || layer.planes(output_grad, channel);
        let relu_grad = layer.relu_grad(beta, channel);
        let sums = total(planes().map(|(x, grads)| correlate(x, grads, relu_grad)));
        let (found, factors) = layer.channel(channel, sums);
        for ((x, grads), target) in planes().zip(targets) {
            combine(x, grads, relu_grad, factors, target);
        }
        found
    };
    layer.shape.planes_mut(input_grad).into_par_iter().enumerate().map(channel).collect()
}

/// The gradient with respect to the output of a norm with a rectifier, or of more than that.
#[derive(Debug)]
pub enum OutputGrad<'a> {
    /// The norm and its rectifier, or the norm alone.
    Whole(&'a [f32]),
    /// Something was added between the two.
    Added {
        /// The gradient, which becomes the one before the rectifier: that of what was added.
        grad: &'a mut [f32],
        /// What the rectifier let through.
        output: &'a [f32],
    },
}

impl OutputGrad<'_> {
    fn numbers(&self) -> &[f32] {
        match self {
            Self::Whole(grad) => grad,
            Self::Added { grad, .. } => grad,
        }
    }
}

/// The gradient with respect to the input of a batch norm, plane by plane.
pub(crate) struct InputGrads<'a, N> {
    layer: Layer<'a, N>,
    output_grad: &'a [f32],
    channels: Vec<(Gate, [f32; 3])>,
}

impl<'a, N: Kept> InputGrads<'a, N> {
    /// Finds the sums of each channel, and with them the gradients of γ and β. Where nothing is added
    /// before a rectifier, `beta` tells which outputs it let through.
    ///
    /// # Panics
    ///
    /// Panics if a slice has not the elements that the layer's shape says.
    pub fn new(
        layer: Layer<'a, N>,
        beta: Option<&[f32]>,
        output_grad: OutputGrad<'a>,
    ) -> (Vec<ChannelGrad>, Self) {
        layer.check(output_grad.numbers());
        let shape = layer.shape;
        let gates: Vec<Gate> = (0..shape.channels).map(|at| layer.relu_grad(beta, at)).collect();
        // Plane after plane, as they lie in memory, and only then by channel.
        let size = shape.positions;
        let xs = || layer.input.par_chunks(size).enumerate().with_min_len(TOGETHER);
        let relu_grad = |number: usize| gates[number % shape.channels];
        let (planes, output_grad): (Vec<[f32; 2]>, &[f32]) = match output_grad {
            OutputGrad::Whole(grad) => {
                let planes = xs().zip(grad.par_chunks(size));
                let sums =
                    planes.map(|((number, x), grads)| correlate(x, grads, relu_grad(number)));
                (sums.collect(), grad)
            }
            OutputGrad::Added { grad, output } => {
                assert_eq!(output.len(), shape.elements(), "elements of {shape:?}");
                let planes = xs().zip(output.par_chunks(size)).zip(grad.par_chunks_mut(size));
                let sums = planes.map(|(((number, x), output), grads)| {
                    relu_grad_in_place(grads, output);
                    correlate(x, grads, relu_grad(number))
                });
                (sums.collect(), grad)
            }
        };
        let of = |channel| planes.iter().copied().skip(channel).step_by(shape.channels);
        let sums = (0..shape.channels).map(|channel| total(of(channel)));
        let channels = sums.enumerate().map(|(at, sums)| layer.channel(at, sums));
        let (found, factors): (Vec<_>, Vec<_>) = channels.unzip();
        (found, Self { layer, output_grad, channels: gates.into_iter().zip(factors).collect() })
    }

    /// Writes the gradients of one plane: of channel `number % channels` of image `number / channels`.
    pub fn plane(&self, number: usize, target: &mut [f32]) {
        let shape = self.layer.shape;
        let plane = number * shape.positions..(number + 1) * shape.positions;
        let (input, grads) = (&self.layer.input[plane.clone()], &self.output_grad[plane]);
        let (relu_grad, factors) = self.channels[number % shape.channels];
        combine(input, grads, relu_grad, factors, target);
    }
}

/// The sums of all planes, in their order.
fn total(planes: impl Iterator<Item = [f32; 2]>) -> [f32; 2] {
    planes.fold([0.0; 2], |[sum, product], [a, b]| [sum + a, product + b])
}
