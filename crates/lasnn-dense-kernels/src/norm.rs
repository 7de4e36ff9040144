//! Batch norm over feature maps `[batch, channels, positions]`, optionally followed by a ReLU.
//!
//! A job computes one channel of all images. Its planes fit a large cache, so only the first of the
//! passes over them reads from memory.

mod backward;
mod loops;

use rayon::prelude::*;

use crate::stored_float::StoredFloat;
pub(crate) use backward::InputGrads;
pub use backward::{ChannelGrad, OutputGrad, Recorded, backward};
use loops::{Line, affine, affine_sum, squares, sum};

/// The least number of planes of a job that walks through planes in the order of memory.
const PLANES: usize = 16;

/// The sizes of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// The number of images.
    pub batch: usize,
    /// The number of channels of an image.
    pub channels: usize,
    /// The number of positions of a channel, height times width.
    pub positions: usize,
}

/// The statistics of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The mean µ over batch and positions.
    pub mean: f32,
    /// The variance σ², the mean of `(x - µ)²`.
    pub variance: f32,
}

impl MapShape {
    /// The number of elements of the feature map.
    pub fn elements(&self) -> usize {
        self.batch * self.channels * self.positions
    }

    /// The planes of one channel.
    fn planes<'a, N>(&self, map: &'a [N], channel: usize) -> impl Iterator<Item = &'a [N]> {
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

impl Statistics {
    /// The statistics of one plane.
    pub(crate) fn of_plane<N: StoredFloat>(plane: &[N]) -> Self {
        let count = plane.len() as f32;
        let mean = sum(plane) / count;
        Self { mean, variance: squares(plane, mean) / count }
    }

    /// The statistics of several planes of the same length, given the statistics of each.
    pub(crate) fn merge(planes: impl Iterator<Item = Self> + Clone) -> Self {
        let count = planes.clone().count() as f64;
        let mean = planes.clone().map(|plane| f64::from(plane.mean)).sum::<f64>() / count;
        let squares = planes.map(|plane| {
            let distance = f64::from(plane.mean) - mean;
            f64::from(plane.variance) + distance * distance
        });
        Self { mean: mean as f32, variance: (squares.sum::<f64>() / count) as f32 }
    }

    /// The factor of `x - µ` in the output.
    fn scale(self, gamma: f32, epsilon: f32) -> f32 {
        gamma / (self.variance + epsilon).sqrt()
    }
}

/// Writes `γ · (x - µ) / sqrt(σ² + ε) + β` to `output`, with the µ and σ² of each channel of
/// `input`. If `relu`, negative values become zero. Returns the statistics of each channel.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn forward(
    shape: MapShape,
    input: &[f32],
    [gamma, beta]: [&[f32]; 2],
    epsilon: f32,
    relu: bool,
    output: &mut [f32],
) -> Vec<Statistics> {
    assert_eq!([input.len(), output.len()], [shape.elements(); 2], "elements of {shape:?}");
    assert_eq!([gamma.len(), beta.len()], [shape.channels; 2], "channels of {shape:?}");
    let count = (shape.batch * shape.positions) as f32;
    let channel = |(channel, targets): (usize, Vec<&mut [f32]>)| {
        let planes = || shape.planes(input, channel);
        let mean = planes().map(sum).sum::<f32>() / count;
        let variance = planes().map(|plane| squares(plane, mean)).sum::<f32>() / count;
        let found = Statistics { mean, variance };
        let scale = found.scale(gamma[channel], epsilon);
        for (plane, target) in planes().zip(targets) {
            affine(plane, [mean, scale, beta[channel]], relu, target);
        }
        found
    };
    shape.planes_mut(output).into_par_iter().enumerate().map(channel).collect()
}

/// Writes `scale · x + shift` to `output`, with one scale and one shift for each channel. If
/// `relu`, negative values become zero.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn scale_and_shift(
    shape: MapShape,
    input: &[f32],
    [scale, shift]: [&[f32]; 2],
    relu: bool,
    output: &mut [f32],
) {
    assert_eq!([scale.len(), shift.len()], [shape.channels; 2], "channels of {shape:?}");
    let line = |channel: usize| [0.0, scale[channel], shift[channel]];
    by_plane(shape, input, line, None, relu, output);
}

/// The sum of each channel of a feature map `[batch, channels, positions]`.
///
/// # Panics
///
/// Panics if the number of elements is not a multiple of `channels · positions`.
pub fn channel_sums(map: &[f32], channels: usize, positions: usize) -> Vec<f32> {
    assert_eq!(map.len() % (channels * positions).max(1), 0, "elements of the feature map");
    let channel_sum = |channel: usize| -> f32 {
        let planes = map.chunks_exact(positions).skip(channel).step_by(channels);
        planes.map(sum).sum()
    };
    (0..channels).into_par_iter().map(channel_sum).collect()
}

/// Like [`forward`], but with given statistics, and with a feature map that is added before the
/// ReLU.
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub(crate) fn batch_norm_with<N: StoredFloat>(
    shape: MapShape,
    input: &[N],
    [gamma, beta]: [&[f32]; 2],
    (statistics, epsilon): (&[Statistics], f32),
    added: Option<&[f32]>,
    relu: bool,
    output: &mut [f32],
) {
    assert_eq!([gamma.len(), beta.len()], [shape.channels; 2], "channels of {shape:?}");
    let line = |channel: usize| {
        let found = statistics[channel];
        [found.mean, found.scale(gamma[channel], epsilon), beta[channel]]
    };
    by_plane(shape, input, line, added, relu, output);
}

/// Applies the line of its channel to every number, and adds `added`.
fn by_plane<N: StoredFloat>(
    shape: MapShape,
    input: &[N],
    line: impl Fn(usize) -> Line + Sync,
    added: Option<&[f32]>,
    relu: bool,
    output: &mut [f32],
) {
    assert_eq!([input.len(), output.len()], [shape.elements(); 2], "elements of {shape:?}");
    let planes = input.par_chunks(shape.positions).zip(output.par_chunks_mut(shape.positions));
    planes.enumerate().with_min_len(PLANES).for_each(|(number, (plane, target))| {
        let line = line(number % shape.channels);
        match added {
            Some(added) => {
                let added = &added[number * shape.positions..][..shape.positions];
                affine_sum(plane, added, line, relu, target);
            }
            None => affine(plane, line, relu, target),
        }
    });
}
