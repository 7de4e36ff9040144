//! The weight gradient of a linear layer: products that sum over pairs of frames.

use lasnn_gemm::product::with_format;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::TILE_LEN;
use super::membrane_grad::padded_pairs;
use super::spike_pairs::spike_pairs;
use super::weight_grad::CHANNELS;
use crate::graph::PoolAndMask;
use crate::spikes::Spikes;
use lasnn_core::Precision;
use lasnn_core::mask::MaskRows;
use lasnn_gemm::memory::{self, Scratch};
use lasnn_gemm::product::{
    Format, FormatTask, Operand, SIDE, TileLayout, TileTask, Tiles, tiles_left,
};

/// The gradient of a matrix `[inputs, outputs]` whose inputs are `spikes` after pooling and mask.
///
/// `membrane_grad` is `[channel tile][image and step][lane]` with `tile` lanes; `scale` is the
/// value of a spike after pooling and mask. This is for poolings that
/// [`takes_tiles`](crate::layout::takes_tiles) accepts.
pub(crate) fn matrix_grad(
    (spikes, pooling, mask): (&Spikes, &PoolAndMask, Option<MaskRows<'_>>),
    outputs: usize,
    membrane_grad: &[f32],
    tile: usize,
    scale: f32,
) -> Vec<f32> {
    with_format(
        Precision::Bf16,
        LinearWeightGrad { spikes, pooling, mask, outputs, membrane_grad, tile, scale },
    )
}

struct LinearWeightGrad<'a> {
    spikes: &'a Spikes,
    pooling: &'a PoolAndMask,
    mask: Option<MaskRows<'a>>,
    outputs: usize,
    membrane_grad: &'a [f32],
    tile: usize,
    scale: f32,
}

impl FormatTask for LinearWeightGrad<'_> {
    type Output = Vec<f32>;

    fn run<F: Format>(self, format: F) -> Vec<f32> {
        let Self { spikes, pooling, mask, outputs, .. } = self;
        let pooled = pooling.shape(spikes.grid.shape);
        let (spike_pairs, grads) = (spike_pairs(spikes, pooling, mask), self.grads(format));
        let (size, positions) = (padded_pairs(spikes.frames()) * SIDE, pooled.positions());
        let of_block = positions * size;
        // All of it is written.
        let mut gradient = memory::take(pooled.len() * outputs);
        let jobs = gradient.par_chunks_mut(CHANNELS * positions * outputs);
        let spike_pairs = spike_pairs.par_chunks(CHANNELS / SIDE * of_block);
        jobs.zip(spike_pairs).for_each(|(gradient, spike_pairs)| {
            format.with_tiles(Rows {
                gradient,
                spike_pairs: cast_slice(spike_pairs),
                grads: cast_slice(&grads),
                positions,
                outputs,
                tile: self.tile,
                size,
                of_block,
            });
        });
        gradient
    }
}

impl LinearWeightGrad<'_> {
    /// The membrane gradients times `scale`, `[channel tile][pair of frames][lane]`.
    fn grads<F: Format>(&self, format: F) -> Scratch {
        let Self { spikes, membrane_grad, tile, scale, .. } = *self;
        let (frames, pairs) = (spikes.frames(), padded_pairs(spikes.frames()));
        let mut grads = Scratch::new(membrane_grad.len() / frames * pairs);
        grads.par_chunks_exact_mut(tile * pairs).enumerate().for_each(|(index, to)| {
            let membrane_grad = &membrane_grad[index * frames * tile..][..frames * tile];
            let mut rows = vec![0.0; 2 * tile];
            for (pair, to) in to.chunks_exact_mut(tile).enumerate() {
                let membrane_grad = membrane_grad.get(2 * pair * tile..).unwrap_or_default();
                rows.fill(0.0);
                rows.iter_mut()
                    .zip(membrane_grad)
                    .for_each(|(row, membrane_grad)| *row = scale * membrane_grad);
                let (first, second) = rows.split_at(tile);
                format.interleave(first, second, cast_slice_mut(to));
            }
        });
        grads
    }
}

/// Up to [`CHANNELS`] input channels at all positions, with all outputs.
struct Rows<'a> {
    /// `[channel][position][output]`.
    gradient: &'a mut [f32],
    spike_pairs: &'a [u32],
    grads: &'a [u32],
    positions: usize,
    outputs: usize,
    /// Lanes of a channel tile of outputs.
    tile: usize,
    /// Pairs of a block of channels at a position.
    size: usize,
    /// Pairs of a block of channels at all positions.
    of_block: usize,
}

impl TileTask for Rows<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { gradient, spike_pairs, grads, positions, outputs, tile, size, of_block } = self;
        let row = positions * outputs;
        let blocks = spike_pairs.len() / of_block;
        let mut sums = [0.0; CHANNELS * CHANNELS];
        for position in 0..positions {
            let spike_pairs = &spike_pairs[position * size..];
            for output in (0..outputs).step_by(CHANNELS) {
                let rounded = outputs.next_multiple_of(SIDE);
                let count = [blocks, tiles_left(output, rounded)];
                let grads = &grads[output / tile * (size / SIDE) * tile + output % tile..];
                tiles.zero();
                let products = (0..size).step_by(TILE_LEN).map(|at| {
                    [
                        Operand::new(&spike_pairs[at..], SIDE, of_block),
                        Operand::new(&grads[at / SIDE * tile..], tile, SIDE),
                    ]
                });
                tiles.add(count, products);
                let place = position * outputs + output;
                let columns = count[1] * SIDE;
                if gradient.len() == blocks * SIDE * row && output + columns <= outputs {
                    let to = TileLayout { pitch: row, down: SIDE * row, right: SIDE };
                    tiles.store(count, &mut gradient[place..], to);
                    continue;
                }
                tiles.store(count, &mut sums, TileLayout::matrix(CHANNELS));
                let columns = columns.min(outputs - output);
                for (to, sums) in gradient.chunks_exact_mut(row).zip(sums.chunks_exact(CHANNELS)) {
                    to[place..][..columns].copy_from_slice(&sums[..columns]);
                }
            }
        }
    }
}
