//! The gradients of a batch norm.

use rayon::prelude::*;

use super::super::rectify::gate_chunk;
use super::loops::{Gate, combine, correlate, open};
use super::{MapShape, Statistics};

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
pub struct Layer<'a> {
    /// The sizes of its input.
    pub shape: MapShape,
    /// Its input.
    pub input: &'a [f32],
    /// The scales γ.
    pub gamma: &'a [f32],
    /// What the forward pass found.
    pub statistics: &'a [Statistics],
    /// What keeps the division finite.
    pub epsilon: f32,
}

impl Layer<'_> {
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
    fn gate(&self, beta: Option<&[f32]>, channel: usize) -> Gate {
        let found = self.statistics[channel];
        let scale = || found.scale(self.gamma[channel], self.epsilon);
        beta.map_or_else(|| open(found.mean), |beta| [found.mean, scale(), beta[channel]])
    }

    /// The planes of a channel with the gradients behind them.
    fn planes<'a>(
        &'a self,
        output_grad: &'a [f32],
        channel: usize,
    ) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
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
        let gate = layer.gate(beta, channel);
        let sums = total(planes().map(|(x, grads)| correlate(x, grads, gate)));
        let (found, factors) = layer.channel(channel, sums);
        for ((x, grads), target) in planes().zip(targets) {
            combine(x, grads, gate, factors, target);
        }
        found
    };
    layer.shape.planes_mut(input_grad).into_par_iter().enumerate().map(channel).collect()
}

/// A rectifier behind which the gradients are: its output, and where they go as they are before it.
pub(in crate::dense) struct Gated<'a> {
    pub output: &'a [f32],
    pub to: &'a mut [f32],
}

/// The gradient with respect to the input of a batch norm, plane by plane.
pub(in crate::dense) struct InputGrads<'a> {
    layer: Layer<'a>,
    output_grad: &'a [f32],
    channels: Vec<(Gate, [f32; 3])>,
}

impl<'a> InputGrads<'a> {
    /// Finds the sums of each channel, and with them the gradients of γ and β. Where nothing but a
    /// rectifier is behind the norm, `beta` tells which outputs it let through; where something is added
    /// before, `gated` does.
    ///
    /// # Panics
    ///
    /// Panics if a slice has not the elements that the layer's shape says.
    pub fn new(
        layer: Layer<'a>,
        beta: Option<&[f32]>,
        output_grad: &'a [f32],
        gated: Option<Gated<'a>>,
    ) -> (Vec<ChannelGrad>, Self) {
        layer.check(output_grad);
        let shape = layer.shape;
        let gates: Vec<Gate> = (0..shape.channels).map(|at| layer.gate(beta, at)).collect();
        let (sums, output_grad): (Vec<[f32; 2]>, _) = match gated {
            None => {
                let channel = |channel: usize| {
                    let planes = layer.planes(output_grad, channel);
                    total(planes.map(|(x, grads)| correlate(x, grads, gates[channel])))
                };
                ((0..shape.channels).into_par_iter().map(channel).collect(), output_grad)
            }
            Some(Gated { output, to }) => {
                assert_eq!(
                    [output.len(), to.len()],
                    [shape.elements(); 2],
                    "elements of {shape:?}"
                );
                let channel = |(channel, targets): (usize, Vec<&mut [f32]>)| {
                    let planes = layer.planes(output_grad, channel);
                    let planes = planes.zip(shape.planes(output, channel)).zip(targets);
                    total(planes.map(|(((x, grads), output), target)| {
                        gate_chunk(grads, output, target);
                        correlate(x, target, gates[channel])
                    }))
                };
                let sums = shape.planes_mut(to).into_par_iter().enumerate().map(channel).collect();
                (sums, &*to)
            }
        };
        let channels = sums.into_iter().enumerate().map(|(at, sums)| layer.channel(at, sums));
        let (found, factors): (Vec<_>, Vec<_>) = channels.unzip();
        (found, Self { layer, output_grad, channels: gates.into_iter().zip(factors).collect() })
    }

    /// Writes the gradients of one plane: of channel `number % channels` of image `number / channels`.
    pub fn plane(&self, number: usize, target: &mut [f32]) {
        let shape = self.layer.shape;
        let plane = number * shape.positions..(number + 1) * shape.positions;
        let (input, grads) = (&self.layer.input[plane.clone()], &self.output_grad[plane]);
        let (gate, factors) = self.channels[number % shape.channels];
        combine(input, grads, gate, factors, target);
    }
}

/// The sums of all planes, in their order.
fn total(planes: impl Iterator<Item = [f32; 2]>) -> [f32; 2] {
    planes.fold([0.0; 2], |[sum, product], [a, b]| [sum + a, product + b])
}
