//! Batch norm over feature maps `[batch, channels, positions]`, with a rectifier behind it.
//!
//! A job is one channel: its planes of all images fit the nearest large cache, so that only the
//! first of the passes over them goes to memory.

mod backward;
mod loops;

use rayon::prelude::*;

use super::kept::Kept;
pub(super) use backward::InputGrads;
pub use backward::{ChannelGrad, Layer, OutputGrad, backward};
pub(super) use loops::sum as plane_sum;
use loops::{Line, affine, affine_sum, squares, sum};

/// Planes of a job that takes them in their order.
const TOGETHER: usize = 16;

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

impl MapShape {
    /// Elements of the whole map.
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
    /// Those of one plane.
    pub(super) fn of_plane<N: Kept>(plane: &[N]) -> Self {
        let count = plane.len() as f32;
        let mean = sum(plane) / count;
        Self { mean, variance: squares(plane, mean) / count }
    }

    /// Those of several planes of the same length together.
    pub(super) fn together(planes: impl Iterator<Item = Self> + Clone) -> Self {
        let count = planes.clone().count() as f64;
        let mean = planes.clone().map(|plane| f64::from(plane.mean)).sum::<f64>() / count;
        let squares = planes.map(|plane| {
            let distance = f64::from(plane.mean) - mean;
            f64::from(plane.variance) + distance * distance
        });
        Self { mean: mean as f32, variance: (squares.sum::<f64>() / count) as f32 }
    }

    /// What [`forward`] multiplies by.
    fn scale(self, gamma: f32, epsilon: f32) -> f32 {
        gamma / (self.variance + epsilon).sqrt()
    }
}

/// Writes `γ · (x - µ) / sqrt(σ² + ε) + β` to `output`, µ and σ² being those of each channel, and
/// returns them; negative values as zero if `relu`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
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

/// Writes `scale · x + shift` to `output`, with a scale and a shift for each channel; negative
/// values as zero if `relu`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
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

/// Writes what [`forward`] does, with statistics that are known, plus a map that is added before the
/// rectifier.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub(super) fn batch_norm_with<N: Kept>(
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

/// Writes what the line of its channel makes of every number, plus what is added.
fn by_plane<N: Kept>(
    shape: MapShape,
    input: &[N],
    line: impl Fn(usize) -> Line + Sync,
    added: Option<&[f32]>,
    relu: bool,
    output: &mut [f32],
) {
    assert_eq!([input.len(), output.len()], [shape.elements(); 2], "elements of {shape:?}");
    let planes = input.par_chunks(shape.positions).zip(output.par_chunks_mut(shape.positions));
    planes.enumerate().with_min_len(TOGETHER).for_each(|(number, (plane, target))| {
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
