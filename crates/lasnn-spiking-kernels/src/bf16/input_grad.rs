//! The gradient of a convolution's input spikes with AMX, from membrane gradients in `f32`.
//!
//! Membrane gradients are `f32` where 8 bits do not hold the surrogate derivatives. Then [`Bptt`]
//! cannot run, and each layer hands maps of spike gradients to the layers upstream.
//!
//! [`Bptt`]: super::Bptt

use rayon::prelude::*;

use super::downstream::TransposedConv;
use super::frames::LaneGroup;
use super::{FRAMES, GROUP, RoundedMembraneGrad};
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::{ConvShape, Geometry};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, TileTask, Tiles};

/// The gradient `[image][step][position][lane]` of the spikes that a convolution with weights
/// `[outputs, inputs, taps]` reads.
pub(crate) fn input_grad<F: Format>(
    format: F,
    weights: &[f32],
    shape: ConvShape,
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
        format.with_tiles(SomeFrames { gradient, transposed_conv, membrane_grad, lanes, first });
    });
    gradient
}

/// Up to [`FRAMES`] frames.
struct SomeFrames<'a> {
    /// `[frame][position][lane]`.
    gradient: &'a mut [f32],
    transposed_conv: &'a TransposedConv,
    membrane_grad: &'a RoundedMembraneGrad,
    lanes: usize,
    first: usize,
}

impl TileTask for SomeFrames<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { gradient, transposed_conv, membrane_grad, lanes, first } = self;
        let frames = first..membrane_grad.rows.room.min(first + FRAMES);
        let mut sums = [0.0; FRAMES * GROUP];
        let positions = transposed_conv.positions();
        for index in 0..positions * lanes.div_ceil(GROUP) {
            let (group, position) = (index / positions, index % positions);
            let at = LaneGroup { position, group };
            transposed_conv.product(&mut tiles, (membrane_grad, frames.clone()), at, &mut sums);
            let columns = GROUP.min(lanes - group * GROUP);
            let rows = gradient.chunks_exact_mut(positions * lanes).zip(sums.chunks_exact(GROUP));
            for (to, sums) in rows {
                to[position * lanes + group * GROUP..][..columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
}
