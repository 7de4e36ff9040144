//! Gradients of a convolution's input spikes: dense, since the gradient of a membrane is.
//!
//! A direct convolution in registers: a few positions by two registers of channels, and for each
//! weight one multiply-add per position. No matrix of patches is made.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::Geometry;
use super::simd::LANES;
use super::site_grad::SiteGrad;

/// Channels of a block.
const BLOCK: usize = 2 * LANES;

/// Positions whose sums are in registers together.
const TOGETHER: usize = 8;

/// The gradient `[image][step][position][lane]` with respect to spikes `lanes` wide, given `delta`
/// and weights `[outputs, inputs, taps]`.
pub(super) fn convolution(
    weights: &[f32],
    (inputs, taps, lanes): (usize, usize, usize),
    delta: &SiteGrad,
    geometry: &Geometry,
) -> Vec<f32> {
    let packed = pack(weights, (delta.grid.shape.channels, inputs, taps), delta.grid.lanes());
    let positions = geometry.bases.len();
    let classes: Vec<_> = geometry.classes().collect();
    let mut gradient = vec![0.0; delta.images * delta.steps * positions * lanes];
    gradient.par_chunks_mut(positions * lanes).enumerate().for_each(|(frame, gradient)| {
        Arch::new().dispatch(Frame {
            gradient,
            packed: &packed,
            lanes,
            taps,
            delta,
            image: frame / delta.steps,
            step: frame % delta.steps,
            classes: &classes,
            bases: &geometry.bases,
        });
    });
    gradient
}

/// Weights as `[block of inputs][tap][output lane][input of the block]`.
fn pack(
    weights: &[f32],
    (outputs, inputs, taps): (usize, usize, usize),
    output_lanes: usize,
) -> Vec<f32> {
    let blocks = inputs.div_ceil(BLOCK);
    let mut packed = vec![0.0; blocks * taps * output_lanes * BLOCK];
    packed.par_chunks_mut(taps * output_lanes * BLOCK).enumerate().for_each(|(block, packed)| {
        let first = block * BLOCK;
        let count = BLOCK.min(inputs - first);
        for (output, weights) in weights.chunks_exact(inputs * taps).take(outputs).enumerate() {
            for (lane, weights) in weights[first * taps..].chunks_exact(taps).take(count).enumerate() {
                for (tap, &weight) in weights.iter().enumerate() {
                    packed[(tap * output_lanes + output) * BLOCK + lane] = weight;
                }
            }
        }
    });
    packed
}

struct Frame<'a> {
    /// `[position][lane]`.
    gradient: &'a mut [f32],
    packed: &'a [f32],
    lanes: usize,
    taps: usize,
    delta: &'a SiteGrad,
    image: usize,
    step: usize,
    classes: &'a [(&'a [(usize, usize)], Vec<usize>)],
    bases: &'a [u32],
}

impl WithSimd for Frame<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let outputs = self.delta.grid.lanes();
        let blocks = self.packed.chunks_exact(self.taps * outputs * BLOCK);
        for (block, packed) in blocks.enumerate() {
            for (taps, positions) in self.classes {
                for positions in positions.chunks(TOGETHER) {
                    // Two registers of 16 lanes, four of 8, and so on: always `BLOCK` channels.
                    for part in (0..BLOCK / S::F32_LANES).step_by(2) {
                        self.positions(simd, block, part, packed, taps, positions);
                    }
                }
            }
        }
    }
}

impl Frame<'_> {
    /// Two registers of channels at up to [`TOGETHER`] positions.
    #[inline(always)]
    fn positions<S: Simd>(
        &mut self,
        simd: S,
        block: usize,
        part: usize,
        packed: &[f32],
        taps: &[(usize, usize)],
        positions: &[usize],
    ) {
        let delta = self.delta;
        let (tile, outputs) = (delta.grid.tile, delta.grid.lanes());
        let mut sums = [[simd.splat_f32s(0.0); 2]; TOGETHER];
        // Positions that are missing repeat the last one; their sums are not written.
        let base = |index: usize| {
            let last = positions.len() - 1;
            self.bases[positions[index.min(last)]] as usize
        };
        for tile_index in 0..delta.grid.tiles() {
            let step = delta.step(tile_index, self.image, self.step);
            for &(tap, offset) in taps {
                let weights = &packed[(tap * outputs + tile_index * tile) * BLOCK..][..tile * BLOCK];
                let weights = S::as_simd_f32s(weights).0;
                let row = |index: usize| &step[(base(index) + offset) * tile..][..tile];
                let rows: [&[f32]; TOGETHER] = std::array::from_fn(row);
                let lanes = BLOCK / S::F32_LANES;
                for (sixteen, weights) in weights.chunks_exact(LANES * lanes).enumerate() {
                    let values: [&[f32; LANES]; TOGETHER] =
                        std::array::from_fn(|index| &rows[index].as_chunks().0[sixteen]);
                    for (output, weights) in weights.chunks_exact(lanes).enumerate() {
                        let weights = &weights[part..part + 2];
                        for index in 0..TOGETHER {
                            let value = simd.splat_f32s(values[index][output]);
                            sums[index][0] = simd.mul_add_f32s(value, weights[0], sums[index][0]);
                            sums[index][1] = simd.mul_add_f32s(value, weights[1], sums[index][1]);
                        }
                    }
                }
            }
        }
        for (&position, sums) in positions.iter().zip(&sums) {
            let first = block * BLOCK + part * S::F32_LANES;
            let row = &mut self.gradient[position * self.lanes..][..self.lanes];
            for (half, sum) in sums.iter().enumerate() {
                // Blocks may reach beyond the lanes of the spikes.
                let lane = first + half * S::F32_LANES;
                if lane < row.len() {
                    let to = S::as_mut_simd_f32s(&mut row[lane..]).0;
                    to[0] = *sum;
                }
            }
        }
    }
}
