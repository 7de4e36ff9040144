//! The gradients of a batch norm.

use rayon::prelude::*;

use super::super::rectify::gate_chunk;
use super::loops::{Gate, combine, correlate, open};
use super::{MapShape, Statistics};
use crate::memory::Scratch;

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

/// Writes the gradient with respect to the input of [`forward`](super::forward) to `input_grad`, and
/// returns those of γ and β. `output` is what the forward pass gave, where it was rectified.
///
/// # Panics
///
/// Panics if a slice has not the elements that the layer's shape says.
pub fn backward(
    layer: &Layer<'_>,
    output: Option<&[f32]>,
    output_grad: &[f32],
    input_grad: &mut [f32],
) -> Vec<ChannelGrad> {
    let shape = layer.shape;
    assert_eq!(input_grad.len(), shape.elements(), "elements of {shape:?}");
    let mut room = Scratch::new(if output.is_some() { shape.elements() } else { 0 });
    let gated = output.map(|output| Gated { output, to: &mut room });
    let (channels, grads) = InputGrads::new(*layer, None, output_grad, gated);
    let planes = input_grad.par_chunks_mut(shape.positions.max(1)).enumerate().with_min_len(16);
    planes.for_each(|(plane, target)| grads.plane(plane, target));
    channels
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
        let Layer { shape, input, gamma, statistics, epsilon } = layer;
        assert_eq!(
            [input.len(), output_grad.len()],
            [shape.elements(); 2],
            "elements of {shape:?}"
        );
        assert_eq!([gamma.len(), statistics.len()], [shape.channels; 2], "channels of {shape:?}");
        let gates: Vec<Gate> = (0..shape.channels)
            .map(|channel| {
                let found = statistics[channel];
                match beta {
                    Some(beta) => [found.mean, found.scale(gamma[channel], epsilon), beta[channel]],
                    None => open(found.mean),
                }
            })
            .collect();
        let pairs = |channel| shape.planes(input, channel).zip(shape.planes(output_grad, channel));
        let (sums, output_grad): (Vec<[f32; 2]>, _) = match gated {
            None => {
                let channel = |channel: usize| {
                    total(pairs(channel).map(|(x, grads)| correlate(x, grads, gates[channel])))
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
                    let planes = pairs(channel).zip(shape.planes(output, channel)).zip(targets);
                    total(planes.map(|(((x, grads), output), target)| {
                        gate_chunk(grads, output, target);
                        correlate(x, target, gates[channel])
                    }))
                };
                let sums = shape.planes_mut(to).into_par_iter().enumerate().map(channel).collect();
                (sums, &*to)
            }
        };
        let count = (shape.batch * shape.positions) as f32;
        let (found, channels) = sums
            .into_iter()
            .zip(gates)
            .enumerate()
            .map(|(channel, ([beta, product], gate))| {
                let Statistics { mean, variance } = statistics[channel];
                let inverse = 1.0 / (variance + epsilon).sqrt();
                let found = ChannelGrad { gamma: product * inverse, beta };
                let scale = gamma[channel] * inverse;
                // scale · (dy - dβ / n - x̂ · dγ / n), with x̂ = (x - µ) · inverse
                let by_input = -scale * found.gamma * inverse / count;
                let constant = -scale * beta / count - by_input * mean;
                (found, (gate, [scale, by_input, constant]))
            })
            .unzip();
        (found, Self { layer, output_grad, channels })
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
