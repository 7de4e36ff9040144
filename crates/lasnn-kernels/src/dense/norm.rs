//! Batch norm over feature maps `[batch, channels, positions]`, with a rectifier behind it.
//!
//! A job is one channel: its planes of all images fit the nearest large cache, so that only the
//! first of the passes over them goes to memory.

use rayon::prelude::*;

use super::simd::vectorised;

/// The sizes of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Images.
    pub batch: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Positions of a channel.
    pub positions: usize,
}

/// What [`forward`] finds of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The mean over batch and positions, µ.
    pub mean: f32,
    /// The mean squared distance from it, σ².
    pub variance: f32,
}

/// The gradients of one channel's scale and shift.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelGrad {
    /// With respect to γ.
    pub gamma: f32,
    /// With respect to β.
    pub beta: f32,
}

impl MapShape {
    /// Elements of the whole map.
    pub fn elements(&self) -> usize {
        self.batch * self.channels * self.positions
    }

    /// The planes of one channel.
    fn planes<'a>(&self, map: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        map.chunks_exact(self.positions.max(1)).skip(channel).step_by(self.channels)
    }

    /// The planes of every channel.
    fn planes_mut<'a>(&self, map: &'a mut [f32]) -> Vec<Vec<&'a mut [f32]>> {
        let mut channels: Vec<Vec<_>> = (0..self.channels).map(|_| Vec::new()).collect();
        for (number, plane) in map.chunks_exact_mut(self.positions.max(1)).enumerate() {
            channels[number % self.channels].push(plane);
        }
        channels
    }
}

/// Writes `γ · (x - µ) / sqrt(σ² + ε) + β` to `output`, µ and σ² being those of each channel, and
/// returns them; negative values as zero if `rectify`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn forward(
    shape: MapShape,
    input: &[f32],
    [gamma, beta]: [&[f32]; 2],
    epsilon: f32,
    rectify: bool,
    output: &mut [f32],
) -> Vec<Statistics> {
    assert_eq!([input.len(), output.len()], [shape.elements(); 2], "elements of {shape:?}");
    assert_eq!([gamma.len(), beta.len()], [shape.channels; 2], "channels of {shape:?}");
    let count = (shape.batch * shape.positions) as f32;
    let channel = |(channel, targets): (usize, Vec<&mut [f32]>)| {
        let planes = || shape.planes(input, channel);
        let mean = planes().map(sum).sum::<f32>() / count;
        let variance = planes().map(|plane| squares(plane, mean)).sum::<f32>() / count;
        let scale = gamma[channel] / (variance + epsilon).sqrt();
        for (plane, target) in planes().zip(targets) {
            affine(plane, [mean, scale, beta[channel]], rectify, target);
        }
        Statistics { mean, variance }
    };
    shape.planes_mut(output).into_par_iter().enumerate().map(channel).collect()
}

/// Writes `scale · x + shift` to `output`, with a scale and a shift for each channel; negative
/// values as zero if `rectify`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn scale_and_shift(
    shape: MapShape,
    input: &[f32],
    [scale, shift]: [&[f32]; 2],
    rectify: bool,
    output: &mut [f32],
) {
    assert_eq!([input.len(), output.len()], [shape.elements(); 2], "elements of {shape:?}");
    assert_eq!([scale.len(), shift.len()], [shape.channels; 2], "channels of {shape:?}");
    let planes = input.par_chunks(shape.positions).zip(output.par_chunks_mut(shape.positions));
    planes.enumerate().with_min_len(16).for_each(|(number, (plane, target))| {
        let channel = number % shape.channels;
        affine(plane, [0.0, scale[channel], shift[channel]], rectify, target);
    });
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
    /// What [`forward`] found.
    pub statistics: &'a [Statistics],
    /// What keeps the division finite.
    pub epsilon: f32,
}

/// Writes the gradient with respect to the input of [`forward`] to `input_grad`, and returns those
/// of γ and β. `output` is what the forward pass gave, where it was rectified.
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
    let Layer { shape, input, gamma, statistics, epsilon } = *layer;
    let found = [input.len(), output_grad.len(), input_grad.len()];
    assert_eq!(found, [shape.elements(); 3], "elements of {shape:?}");
    assert_eq!([gamma.len(), statistics.len()], [shape.channels; 2], "channels of {shape:?}");
    let count = (shape.batch * shape.positions) as f32;
    let channel = |(channel, targets): (usize, Vec<&mut [f32]>)| {
        let Statistics { mean, variance } = statistics[channel];
        let inverse = 1.0 / (variance + epsilon).sqrt();
        let gates: Option<Vec<&[f32]>> = output.map(|map| shape.planes(map, channel).collect());
        let planes = || {
            let gates = (0..shape.batch).map(|image| gates.as_ref().map(|gates| gates[image]));
            shape.planes(input, channel).zip(shape.planes(output_grad, channel)).zip(gates)
        };
        let (mut beta, mut product) = (0.0, 0.0);
        for ((plane, grads), gates) in planes() {
            let sums = correlate(plane, grads, gates, mean);
            beta += sums[0];
            product += sums[1];
        }
        let gamma_grad = product * inverse;
        let scale = gamma[channel] * inverse;
        // scale · (dy - dβ / n - x̂ · dγ / n), with x̂ = (x - µ) · inverse
        let by_input = -scale * gamma_grad * inverse / count;
        let constant = -scale * beta / count - by_input * mean;
        for (((plane, grads), gates), target) in planes().zip(targets) {
            combine(plane, grads, gates, [scale, by_input, constant], target);
        }
        ChannelGrad { gamma: gamma_grad, beta }
    };
    shape.planes_mut(input_grad).into_par_iter().enumerate().map(channel).collect()
}

/// Partial sums of this many neighbours, so that the order of additions does not depend on the
/// length of the machine's vectors.
const LANES: usize = 32;

vectorised! {
    /// The sum of a plane.
    pub(super) fn sum<'a>(plane: &'a [f32]) -> f32 {
        let mut lanes = [0f32; LANES];
        let (whole, rest) = plane.as_chunks::<LANES>();
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane += value;
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
    }
}

vectorised! {
    /// The sum of the squared distances from `mean`.
    fn squares<'a>(plane: &'a [f32], mean: f32) -> f32 {
        let mut lanes = [0f32; LANES];
        let (whole, rest) = plane.as_chunks::<LANES>();
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane += (value - mean) * (value - mean);
            }
        }
        let rest = rest.iter().map(|&value| (value - mean) * (value - mean));
        lanes.iter().sum::<f32>() + rest.sum::<f32>()
    }
}

vectorised! {
    /// `Σ dy` and `Σ dy · (x - µ)`.
    fn correlate<'a>(
        plane: &'a [f32],
        grads: &'a [f32],
        gates: Option<&'a [f32]>,
        mean: f32,
    ) -> [f32; 2] {
        let (mut sums, mut products) = ([0f32; LANES], [0f32; LANES]);
        let (planes, plane) = plane.as_chunks::<LANES>();
        let (all_grads, grads) = grads.as_chunks::<LANES>();
        let chunks = planes.iter().zip(all_grads);
        // Whole chunks apart from the rest, so that the sums stay in registers.
        let gates = match gates {
            Some(gates) => {
                let (all_gates, gates) = gates.as_chunks::<LANES>();
                for ((x, grads), gates) in chunks.zip(all_gates) {
                    let lanes = sums.iter_mut().zip(&mut products);
                    let sources = x.iter().zip(grads).zip(gates);
                    for ((sum, product), ((&x, &grad), &gate)) in lanes.zip(sources) {
                        let grad = if gate > 0.0 { grad } else { 0.0 };
                        *sum += grad;
                        *product += grad * (x - mean);
                    }
                }
                Some(gates)
            }
            None => {
                for (x, grads) in chunks {
                    let lanes = sums.iter_mut().zip(&mut products);
                    for ((sum, product), (&x, &grad)) in lanes.zip(x.iter().zip(grads)) {
                        *sum += grad;
                        *product += grad * (x - mean);
                    }
                }
                None
            }
        };
        for (at, (&x, &grad)) in plane.iter().zip(grads).enumerate() {
            let grad = if gates.is_none_or(|gates| gates[at] > 0.0) { grad } else { 0.0 };
            sums[at] += grad;
            products[at] += grad * (x - mean);
        }
        [sums.iter().sum(), products.iter().sum()]
    }
}

vectorised! {
    /// `scale · dy + by_input · x + constant`
    fn combine<'a>(
        plane: &'a [f32],
        grads: &'a [f32],
        gates: Option<&'a [f32]>,
        factors: [f32; 3],
        target: &'a mut [f32],
    ) -> () {
        let [scale, by_input, constant] = factors;
        let sources = plane.iter().zip(grads);
        match gates {
            Some(gates) => {
                for (target, ((&x, &grad), &gate)) in target.iter_mut().zip(sources.zip(gates)) {
                    let grad = if gate > 0.0 { grad } else { 0.0 };
                    *target = scale * grad + (by_input * x + constant);
                }
            }
            None => {
                for (target, (&x, &grad)) in target.iter_mut().zip(sources) {
                    *target = scale * grad + (by_input * x + constant);
                }
            }
        }
    }
}

vectorised! {
    /// `(x - mean) · scale + shift`
    fn affine<'a>(
        plane: &'a [f32],
        parameters: [f32; 3],
        rectify: bool,
        target: &'a mut [f32],
    ) -> () {
        let [mean, scale, shift] = parameters;
        let floor = if rectify { 0.0 } else { f32::NEG_INFINITY };
        for (target, &x) in target.iter_mut().zip(plane) {
            *target = ((x - mean) * scale + shift).max(floor);
        }
    }
}
