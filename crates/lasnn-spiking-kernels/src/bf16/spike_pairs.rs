//! Spike counts in bfloat16, as the depth of products: a product sums over pairs of frames.

use pulp::bytemuck::cast_slice_mut;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::frames::{ONE, to_bfloat16};
use super::membrane_grad::padded_pairs;
use super::{GROUP, TILE_LEN};
use crate::event::list::Allowed;
use crate::graph::PoolAndMask;
use crate::spikes::Spikes;
use lasnn_core::mask::MaskRows;
use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::SIDE;

/// How often each channel fires in each pooling window, `[block of channels][position]
/// [tile of pairs of frames][channel of the block][pair of frames]`.
///
/// A block has [`SIDE`] channels. `mask` has a row for each image.
pub(super) fn spike_pairs(
    spikes: &Spikes,
    pooling: &PoolAndMask,
    mask: Option<MaskRows<'_>>,
) -> Scratch {
    let pooled = pooling.shape(spikes.grid.shape);
    let allowed =
        mask.map(|mask| Allowed::by_image(mask, 0..spikes.batch, pooled)).unwrap_or_default();
    let size = padded_pairs(spikes.frames()) * SIDE;
    // All of it is written.
    let mut pairs = Scratch::new(pooled.channels.div_ceil(SIDE) * pooled.positions() * size);
    let rows = pairs.par_chunks_exact_mut(pooled.width * size).enumerate();
    rows.for_each(|(index, to)| {
        let (block, row) = (index / pooled.height, index % pooled.height);
        let (allowed, to) = (&allowed[..], cast_slice_mut(to));
        vectors().dispatch(CountRow { spikes, pooling, allowed, block, row, size, to });
    });
    pairs
}

/// Counts the spikes of a block of channels in one row of the pooled map.
struct CountRow<'a> {
    spikes: &'a Spikes,
    pooling: &'a PoolAndMask,
    /// By image.
    allowed: &'a [Allowed],
    block: usize,
    row: usize,
    /// Pairs of a position.
    size: usize,
    to: &'a mut [u32],
}

impl WithSimd for CountRow<'_> {
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
        // The counts of a frame's 16 channels lie in bit planes: plane `b` is a word with bit `b`
        // of each count. So one addition with carry counts a spike word.
        let frames = 2 * size / SIDE;
        let bits = places.len().ilog2() as usize + 1;
        // [column][bit][frame]
        let mut planes = vec![0u16; width * bits * frames];
        let first = spikes.at(block / of_tile, 0, 0, row * rows * map_width) + block % of_tile;
        for image in 0..spikes.batch {
            for frame in image * spikes.steps..(image + 1) * spikes.steps {
                // A row of the map at a time, because it is only a few cache lines.
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
            let to = cast_slice_mut::<u32, u16>(to).as_chunks_mut::<{ 2 * TILE_LEN }>().0;
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
                        _ => to_bfloat16(&mut counts),
                    }
                    *to = counts;
                }
            }
        }
    }
}
