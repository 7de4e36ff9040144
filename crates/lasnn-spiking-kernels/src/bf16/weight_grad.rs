//! Gradients of a convolution's weights with tiles: frames are the depth of a product, two of them a pair.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::frames::{ONE, bfloat16s};
use super::membrane_grad::pairs;
use super::{GROUP, RoundedMembraneGrad, TILE, can_count};
use crate::event::list::Allowed;
use crate::geometry::Reached;
use crate::graph::PoolAndMask;
use crate::spikes::Spikes;
use lasnn_core::Precision;
use lasnn_core::mask::MaskRows;
use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{
    Format, FormatTask, Operand, SIDE, TileLayout, TileTask, Tiles, tile_products_per_event,
    tiles_left, with_tile_format,
};

/// Input channels of a job.
pub(crate) const CHANNELS: usize = 2 * SIDE;

/// Bytes of both sides of a product that are taken for all taps before the next ones are.
const CACHED: usize = 512 << 10;

/// A convolution on the way back.
#[derive(Clone, Copy)]
pub(crate) struct WeightGrad<'a> {
    pub spikes: &'a Spikes,
    pub pooling: &'a PoolAndMask,
    pub mask: Option<MaskRows<'a>>,
    /// What the taps reach.
    pub reached: &'a Reached,
    pub scale: f32,
}

impl WeightGrad<'_> {
    /// Does what [`crate::event::weight_grad::convolution`] does, with `[tile][input][tap][output of the tile]`,
    /// of rounded gradients.
    pub fn add_to(self, gradient: &mut [f32], membrane_grad: &RoundedMembraneGrad) {
        with_tile_format(Add { of: self, membrane_grad, gradient });
    }

    /// Whether that takes less time than adding up what lists of spikes name.
    pub fn worth_it(&self, precision: Precision) -> bool {
        if precision == Precision::F32 || !can_count(self.pooling) {
            return false;
        }
        let channels = self.pooling.shape(self.spikes.grid.shape).channels;
        let places: usize = self.reached.iter().map(Vec::len).sum();
        let depth = 2 * pairs(self.spikes.frames());
        let products = places * depth * channels.next_multiple_of(SIDE);
        products < tile_products_per_event() * self.reached.len() * self.spikes.number()
    }
}

struct Add<'a> {
    of: WeightGrad<'a>,
    membrane_grad: &'a RoundedMembraneGrad,
    /// `[tile][input][tap][output of the tile]`.
    gradient: &'a mut [f32],
}

impl FormatTask for Add<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { of, membrane_grad, gradient } = self;
        let WeightGrad { spikes, pooling, reached, scale, .. } = of;
        let (pooled, taps, tile) =
            (pooling.shape(spikes.grid.shape), reached.len(), membrane_grad.grid.tile);
        let fired = fired(spikes, pooling, of.mask);
        let size = pairs(spikes.frames()) * SIDE;
        let of_block = pooled.positions() * size;
        let outputs = tile / SIDE;
        let tiles = gradient.par_chunks_exact_mut(pooled.channels * taps * tile).enumerate();
        tiles.for_each(|(index, gradient)| {
            let jobs = gradient.par_chunks_mut(CHANNELS * taps * tile);
            jobs.zip(fired.par_chunks(CHANNELS / SIDE * of_block)).for_each(|(gradient, fired)| {
                let blocks = fired.len() / of_block;
                let mut sums = Scratch::zeros(taps * blocks * outputs * TILE);
                format.with_tiles(Channels {
                    sums: &mut sums,
                    fired: cast_slice(fired),
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
                    let sums = &sums[(tap * blocks + channel / SIDE) * outputs * TILE..];
                    let columns = gradient.chunks_exact_mut(SIDE).zip(sums.chunks_exact(TILE));
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

/// Who fired, `[block of channels][position of the pooling][tile of pairs][channel of the block][pair]`.
pub(crate) fn fired(spikes: &Spikes, pooling: &PoolAndMask, mask: Option<MaskRows<'_>>) -> Scratch {
    let pooled = pooling.shape(spikes.grid.shape);
    let allowed =
        mask.map(|mask| Allowed::by_image(mask, 0..spikes.batch, pooled)).unwrap_or_default();
    let size = pairs(spikes.frames()) * SIDE;
    // All of it is written.
    let mut fired = Scratch::new(pooled.channels.div_ceil(SIDE) * pooled.positions() * size);
    let rows = fired.par_chunks_exact_mut(pooled.width * size).enumerate();
    rows.for_each(|(index, to)| {
        let (block, row) = (index / pooled.height, index % pooled.height);
        let (allowed, to) = (&allowed[..], cast_slice_mut(to));
        vectors().dispatch(Turn { spikes, pooling, allowed, block, row, size, to });
    });
    fired
}

/// A block of channels in a row of a map.
struct Turn<'a> {
    spikes: &'a Spikes,
    pooling: &'a PoolAndMask,
    /// By image.
    allowed: &'a [Allowed],
    block: usize,
    row: usize,
    /// Numbers of a position.
    size: usize,
    to: &'a mut [u32],
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { spikes, pooling, allowed, block, row, size, to } = self;
        let width = pooling.shape(spikes.grid.shape).width;
        let (of_tile, map_width) = (spikes.grid.words(), spikes.grid.shape.width);
        let [rows, columns] = pooling.pool;
        let pitch = spikes.grid.shape.positions() * of_tile;
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
        let places: Vec<usize> =
            places.map(|[row, column]| (row * map_width + column) * of_tile).collect();
        // How often each channel fires in a frame: the lowest bits of all channels, the next ones, and so on.
        let frames = 2 * size / SIDE;
        let bits = places.len().ilog2() as usize + 1;
        // [column][bit][frame]
        let mut planes = vec![0u16; width * bits * frames];
        let first = spikes.at(block / of_tile, 0, 0, row * rows * map_width) + block % of_tile;
        for image in 0..spikes.batch {
            for frame in image * spikes.steps..(image + 1) * spikes.steps {
                // A row of a map at a time: it is a few lines of the cache.
                let at = first + frame * pitch;
                for (column, planes) in planes.chunks_exact_mut(bits * frames).enumerate() {
                    let allowed = match allowed {
                        [] => u16::MAX,
                        all => all[image].word(row * width + column, block),
                    };
                    for place in &places {
                        let at = at + column * columns * of_tile + place;
                        let mut carry = spikes.words[at] & allowed;
                        for plane in planes[frame..].iter_mut().step_by(frames) {
                            (*plane, carry) = (*plane ^ carry, *plane & carry);
                        }
                    }
                }
            }
        }
        for (planes, to) in planes.chunks_exact(bits * frames).zip(to.chunks_exact_mut(size)) {
            let to = cast_slice_mut::<u32, u16>(to).as_chunks_mut::<{ 2 * TILE }>().0;
            for (index, to) in to.iter_mut().enumerate() {
                for (channel, to) in to.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                    let mut counts = [0; GROUP];
                    for (bit, plane) in planes.chunks_exact(frames).enumerate() {
                        let words = &plane[index * GROUP..][..GROUP];
                        for (count, word) in counts.iter_mut().zip(words) {
                            *count |= (word >> channel & 1) << bit;
                        }
                    }
                    match bits {
                        1 => counts.iter_mut().for_each(|count| *count *= ONE),
                        _ => bfloat16s(&mut counts),
                    }
                    *to = counts;
                }
            }
        }
    }
}

/// Some channels with a tile of outputs.
struct Channels<'a> {
    /// `[tap][block of channels][block of outputs][channel][output]`.
    sums: &'a mut [f32],
    fired: &'a [u32],
    membrane_grad: &'a RoundedMembraneGrad,
    /// The first block of outputs.
    first: usize,
    reached: &'a Reached,
    blocks: usize,
    outputs: usize,
    /// Numbers of a block of channels at a position.
    size: usize,
    /// Numbers of a block of channels.
    of_block: usize,
}

impl TileTask for Channels<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { sums, fired, membrane_grad, first, reached, blocks, outputs, size, of_block } =
            self;
        let place = TileLayout { pitch: SIDE, down: outputs * TILE, right: TILE };
        let together = (CACHED / (2 * CHANNELS / SIDE * size_of::<u32>() * size)).max(1);
        let most = reached.iter().map(Vec::len).max().unwrap_or(0);
        for start in (0..most).step_by(together) {
            for output in (0..outputs).step_by(2) {
                let count = [blocks, tiles_left(output * SIDE, outputs * SIDE)];
                for (tap, reached) in reached.iter().enumerate() {
                    let sums = &mut sums[(tap * blocks * outputs + output) * TILE..];
                    tiles.load(count, sums, place);
                    let reached = reached.iter().skip(start).take(together);
                    let products = reached.flat_map(|&[from, to]| {
                        let fired = &fired[from * size..];
                        let grads = membrane_grad.pairs(to, first + output);
                        (0..size).step_by(TILE).map(move |at| {
                            [
                                Operand::new(&fired[at..], SIDE, of_block),
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
