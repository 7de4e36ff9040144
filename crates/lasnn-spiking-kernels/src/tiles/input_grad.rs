//! Gradients of a convolution's input spikes with tiles, where membranes are computed again and so want them
//! one map after the other.

use rayon::prelude::*;

use super::super::geometry::Geometry;
use super::super::input_grad::Shape;
use super::super::site_grad::SiteGrad;
use super::behind::Turned;
use super::{Delta, FRAMES, GROUP};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, TileTask, Tiles};

/// The gradient `[image][step][position][lane]` with respect to spikes, given `delta` and weights.
pub(crate) fn input_grad<F: Format>(
    format: F,
    weights: &[f32],
    shape: Shape,
    delta: &SiteGrad,
    geometry: &Geometry,
) -> Scratch {
    let reached = geometry.reached(delta.padded, shape.taps);
    let delta = &Delta::rounded(delta);
    let turned = &Turned::new(weights, shape, delta, (&reached, geometry.bases.len()));
    let row = geometry.bases.len() * shape.lanes;
    let count = delta.rows.count;
    // All of it is written.
    let mut gradient = Scratch::new(count * row);
    gradient.par_chunks_mut(FRAMES * row).enumerate().for_each(|(job, gradient)| {
        let first = job * FRAMES;
        let lanes = shape.lanes;
        format.with_tiles(Frames { gradient, turned, delta, lanes, first });
    });
    gradient
}

/// Some frames.
struct Frames<'a> {
    /// `[frame][position][lane]`.
    gradient: &'a mut [f32],
    turned: &'a Turned,
    delta: &'a Delta,
    lanes: usize,
    first: usize,
}

impl TileTask for Frames<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { gradient, turned, delta, lanes, first } = self;
        let frames = first..delta.rows.room.min(first + FRAMES);
        let mut sums = [0.0; FRAMES * GROUP];
        let positions = turned.positions();
        for place in 0..positions * lanes.div_ceil(GROUP) {
            let (group, position) = (place / positions, place % positions);
            turned.sums(&mut tiles, (delta, frames.clone()), (position, group), &mut sums);
            let columns = GROUP.min(lanes - group * GROUP);
            let rows = gradient.chunks_exact_mut(positions * lanes).zip(sums.chunks_exact(GROUP));
            for (to, sums) in rows {
                to[position * lanes + group * GROUP..][..columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
}
