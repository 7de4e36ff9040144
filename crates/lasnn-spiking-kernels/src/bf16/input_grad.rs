//! Gradients of a convolution's input spikes with tiles, where membranes are computed again and so want them
//! one map after the other.

use rayon::prelude::*;

use super::downstream::TransposedConv;
use super::{FRAMES, GROUP, RoundedMembraneGrad};
use crate::f32::bptt::MembraneGrad;
use crate::f32::input_grad::Shape;
use crate::geometry::Geometry;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, TileTask, Tiles};

/// The gradient `[image][step][position][lane]` with respect to spikes, given `membrane_grad` and weights.
pub(crate) fn input_grad<F: Format>(
    format: F,
    weights: &[f32],
    shape: Shape,
    membrane_grad: &MembraneGrad,
    geometry: &Geometry,
) -> Scratch {
    let reached = geometry.reached(membrane_grad.padded, shape.taps);
    let membrane_grad = &RoundedMembraneGrad::rounded(membrane_grad);
    let transposed_conv =
        &TransposedConv::new(weights, shape, membrane_grad, (&reached, geometry.bases.len()));
    let row = geometry.bases.len() * shape.lanes;
    let count = membrane_grad.rows.count;
    // All of it is written.
    let mut gradient = Scratch::new(count * row);
    gradient.par_chunks_mut(FRAMES * row).enumerate().for_each(|(job, gradient)| {
        let first = job * FRAMES;
        let lanes = shape.lanes;
        format.with_tiles(Frames { gradient, transposed_conv, membrane_grad, lanes, first });
    });
    gradient
}

/// Some frames.
struct Frames<'a> {
    /// `[frame][position][lane]`.
    gradient: &'a mut [f32],
    transposed_conv: &'a TransposedConv,
    membrane_grad: &'a RoundedMembraneGrad,
    lanes: usize,
    first: usize,
}

impl TileTask for Frames<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { gradient, transposed_conv, membrane_grad, lanes, first } = self;
        let frames = first..membrane_grad.rows.room.min(first + FRAMES);
        let mut sums = [0.0; FRAMES * GROUP];
        let positions = transposed_conv.positions();
        for place in 0..positions * lanes.div_ceil(GROUP) {
            let (group, position) = (place / positions, place % positions);
            transposed_conv.sums(
                &mut tiles,
                (membrane_grad, frames.clone()),
                (position, group),
                &mut sums,
            );
            let columns = GROUP.min(lanes - group * GROUP);
            let rows = gradient.chunks_exact_mut(positions * lanes).zip(sums.chunks_exact(GROUP));
            for (to, sums) in rows {
                to[position * lanes + group * GROUP..][..columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
}
