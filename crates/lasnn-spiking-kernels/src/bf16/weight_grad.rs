//! Gradients of a convolution's weights: products that sum over pairs of frames.

use pulp::bytemuck::cast_slice;
use rayon::prelude::*;

use super::membrane_grad::padded_pairs;
use super::spike_pairs::spike_pairs;
use super::{GROUP, RoundedMembraneGrad, TILE_LEN};
use crate::geometry::Reached;
use crate::graph::PoolAndMask;
use crate::layout::can_count;
use crate::spikes::Spikes;
use lasnn_core::Precision;
use lasnn_core::mask::MaskRows;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{
    Format, FormatTask, Operand, SIDE, TileLayout, TileTask, Tiles, tile_products_per_event,
    tiles_left, with_tile_format,
};

/// Input channels of a job.
pub(super) const CHANNELS: usize = 2 * SIDE;

/// Bytes of both factors that all taps multiply before the next ones come into the cache.
const CACHED: usize = 512 << 10;

/// A convolution whose weights get their gradients.
#[derive(Clone, Copy)]
pub(crate) struct WeightGrad<'a> {
    pub spikes: &'a Spikes,
    pub pooling: &'a PoolAndMask,
    pub mask: Option<MaskRows<'a>>,
    /// The positions that each tap connects.
    pub reached: &'a Reached,
    /// The value of a spike after pooling and mask.
    pub scale: f32,
}

impl WeightGrad<'_> {
    /// Adds the gradients of the weights to `gradient`, `[channel tile][input][tap]
    /// [output of the channel tile]`.
    ///
    /// It differs from [`crate::event::weight_grad::convolution`] only in that membrane gradients
    /// are rounded.
    pub fn add_to(self, gradient: &mut [f32], membrane_grad: &RoundedMembraneGrad) {
        with_tile_format(Add { of: self, membrane_grad, gradient });
    }

    /// Whether these products take less time than additions from event lists.
    pub fn worth_it(&self, precision: Precision) -> bool {
        if precision == Precision::F32 || !can_count(self.pooling) {
            return false;
        }
        let channels = self.pooling.shape(self.spikes.grid.shape).channels;
        let places: usize = self.reached.iter().map(Vec::len).sum();
        let depth = 2 * padded_pairs(self.spikes.frames());
        let products = places * depth * channels.next_multiple_of(SIDE);
        products < tile_products_per_event() * self.reached.len() * self.spikes.number()
    }
}

struct Add<'a> {
    of: WeightGrad<'a>,
    membrane_grad: &'a RoundedMembraneGrad,
    /// `[channel tile][input][tap][output of the channel tile]`.
    gradient: &'a mut [f32],
}

impl FormatTask for Add<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { of, membrane_grad, gradient } = self;
        let WeightGrad { spikes, pooling, mask, reached, scale } = of;
        let (pooled, taps, tile) =
            (pooling.shape(spikes.grid.shape), reached.len(), membrane_grad.grid.tile);
        let spike_pairs = spike_pairs(spikes, pooling, mask);
        let size = padded_pairs(spikes.frames()) * SIDE;
        let of_block = pooled.positions() * size;
        let outputs = tile / SIDE;
        let tiles = gradient.par_chunks_exact_mut(pooled.channels * taps * tile).enumerate();
        tiles.for_each(|(index, gradient)| {
            let jobs = gradient.par_chunks_mut(CHANNELS * taps * tile);
            let spike_pairs = spike_pairs.par_chunks(CHANNELS / SIDE * of_block);
            jobs.zip(spike_pairs).for_each(|(gradient, spike_pairs)| {
                let blocks = spike_pairs.len() / of_block;
                let mut sums = Scratch::zeros(taps * blocks * outputs * TILE_LEN);
                format.with_tiles(Channels {
                    sums: &mut sums,
                    spike_pairs: cast_slice(spike_pairs),
                    membrane_grad,
                    first: index * outputs,
                    reached,
                    blocks,
                    outputs,
                    size,
                    of_block,
                });
                for (row, gradient) in gradient.chunks_exact_mut(tile).enumerate() {
                    let (channel, tap) = (row / taps, row % taps);
                    let sums = &sums[(tap * blocks + channel / SIDE) * outputs * TILE_LEN..];
                    let columns = gradient.chunks_exact_mut(SIDE).zip(sums.chunks_exact(TILE_LEN));
                    for (gradient, sums) in columns {
                        for (to, sum) in gradient.iter_mut().zip(&sums[channel % SIDE * SIDE..]) {
                            *to += scale * sum;
                        }
                    }
                }
            });
        });
    }
}

/// Up to [`CHANNELS`] input channels with one channel tile of outputs.
struct Channels<'a> {
    /// `[tap][block of channels][block of outputs][channel][output]`.
    sums: &'a mut [f32],
    spike_pairs: &'a [u32],
    membrane_grad: &'a RoundedMembraneGrad,
    /// The first block of outputs.
    first: usize,
    reached: &'a Reached,
    /// Blocks of [`SIDE`] channels.
    blocks: usize,
    /// Blocks of [`SIDE`] outputs.
    outputs: usize,
    /// Pairs of a block of channels at a position.
    size: usize,
    /// Pairs of a block of channels at all positions.
    of_block: usize,
}

impl TileTask for Channels<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self {
            sums,
            spike_pairs,
            membrane_grad,
            first,
            reached,
            blocks,
            outputs,
            size,
            of_block,
        } = self;
        let place = TileLayout { pitch: SIDE, down: outputs * TILE_LEN, right: TILE_LEN };
        let together = (CACHED / (2 * CHANNELS / SIDE * size_of::<u32>() * size)).max(1);
        let most = reached.iter().map(Vec::len).max().unwrap_or(0);
        for start in (0..most).step_by(together) {
            for output in (0..outputs).step_by(2) {
                let count = [blocks, tiles_left(output * SIDE, outputs * SIDE)];
                for (tap, reached) in reached.iter().enumerate() {
                    let sums = &mut sums[(tap * blocks * outputs + output) * TILE_LEN..];
                    tiles.load(count, sums, place);
                    let reached = reached.iter().skip(start).take(together);
                    let products = reached.flat_map(|&[from, to]| {
                        let spike_pairs = &spike_pairs[from * size..];
                        let grads = membrane_grad.frame_pairs(to, first + output);
                        (0..size).step_by(TILE_LEN).map(move |at| {
                            [
                                Operand::new(&spike_pairs[at..], SIDE, of_block),
                                Operand::new(&grads[at / SIDE * GROUP..], GROUP, SIDE),
                            ]
                        })
                    });
                    tiles.add(count, products);
                    tiles.store(count, sums, place);
                }
            }
        }
    }
}
