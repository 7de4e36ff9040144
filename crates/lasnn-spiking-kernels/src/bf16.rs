//! Products that do not skip zeros: on the way back through maps in bfloat16, and for processors that multiply
//! tiles of it (AMX) on all ways.
//!
//! With AMX a product costs so little that layers gain nothing by skipping nineteen of twenty
//! (`docs/performance.md`); and gradients of membranes, unlike spikes, are hardly ever zero. Spikes become numbers
//! for it: how often a window's channel fired, which bfloat16 holds exactly up to 256.
//!
//! The rows of all products, or their depth where weights get their gradients, are frames: the steps of
//! some images, one after the other. So even maps of a single position fill tiles, no border is multiplied,
//! and a neuron's currents of all steps come together and go into its membrane at once.

mod bptt;
mod conv;
mod downstream;
mod frames;
mod input_grad;
mod linear;
mod linear_weight_grad;
mod membrane_grad;
mod needed;
#[cfg(test)]
mod tests;
mod weight_grad;

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{BLOCK, SIDE, has_tiles, pack_bf16};

use crate::event::linear as event_linear;
use crate::graph::PoolAndMask;

pub(crate) use bptt::Bptt;
pub(crate) use conv::run_maps;
pub(crate) use downstream::{Downstream, TransposedConv};
pub(crate) use frames::Frames;
pub(crate) use input_grad::input_grad;
pub(crate) use linear::{MatrixWeights, Product};
pub(crate) use linear_weight_grad::matrix_grad;
pub(crate) use membrane_grad::RoundedMembraneGrad;
pub(crate) use weight_grad::WeightGrad;

/// Whether spikes downstream a pooling can be numbers for tiles.
pub(crate) fn fit(pooling: &PoolAndMask) -> bool {
    has_tiles() && can_count(pooling)
}

/// Whether bfloat16 holds all numbers that can be downstream a pooling.
fn can_count(pooling: &PoolAndMask) -> bool {
    pooling.pool[0] * pooling.pool[1] <= 256
}

/// Numbers that are multiplied together: as many pairs as a tile is deep.
const GROUP: usize = 2 * SIDE;

/// Frames of a job: as many as the rows of two tiles.
const FRAMES: usize = 2 * SIDE;

/// Numbers of a tile.
const TILE: usize = SIDE * SIDE;

/// Convolution weights `[outputs, inputs, taps]` as `[tile][block of outputs][tap][group of inputs][pair
/// of inputs][output of the block]`, for so many lanes of outputs.
pub(crate) fn pack_convolution(
    weights: &[f32],
    [inputs, taps]: [usize; 2],
    lanes: usize,
) -> Scratch {
    let of_group = SIDE * BLOCK;
    let of_tap = inputs.div_ceil(GROUP) * of_group;
    let is_whole = lanes * inputs * taps == weights.len() && inputs.is_multiple_of(GROUP);
    let mut pairs = Scratch::new(lanes / BLOCK * taps * of_tap);
    pairs.par_chunks_exact_mut(taps * of_tap).enumerate().for_each(|(block, to)| {
        let to: &mut [u32] = cast_slice_mut(to);
        if !is_whole {
            to.fill(0);
        }
        let outputs = weights.chunks_exact(inputs * taps).skip(block * BLOCK).take(BLOCK);
        for (lane, weights) in outputs.enumerate() {
            for (index, weights) in weights.chunks(2 * taps).enumerate() {
                let place = index / SIDE * of_group + index % SIDE * BLOCK + lane;
                let (first, second) = weights.split_at(taps);
                for (tap, &first) in first.iter().enumerate() {
                    // The last input of an odd number has no partner.
                    let second = second.get(tap).copied().unwrap_or(0.0);
                    to[tap * of_tap + place] = pack_bf16(first, second);
                }
            }
        }
    });
    pairs
}

/// Two rows at a time; a missing second one is zero.
fn pack_pairs<'a, 'b>(
    mut rows: impl Iterator<Item = &'a [f32]>,
    to: impl Iterator<Item = &'b mut [u32]>,
) {
    for to in to {
        let Some(first) = rows.next() else { return };
        let second = rows.next();
        for (column, (to, &first)) in to.iter_mut().zip(first).enumerate() {
            *to = pack_bf16(first, second.map_or(0.0, |second| second[column]));
        }
    }
}

/// A matrix `[inputs, outputs]`, its inputs in the order channels, positions, as `[block of
/// outputs][group][position][pair of channels][output of the block]`, for whole tiles of outputs.
pub(crate) fn pack_matrix(matrix: &[f32], outputs: usize, positions: usize) -> Scratch {
    let channels = matrix.len() / outputs / positions;
    let depth = channels.div_ceil(GROUP) * positions * SIDE;
    let mut packed = Scratch::zeros(depth * outputs.next_multiple_of(event_linear::TILE));
    packed.par_chunks_exact_mut(depth * BLOCK).enumerate().for_each(|(block, to)| {
        let columns = outputs.min(block * BLOCK)..outputs.min((block + 1) * BLOCK);
        let to: &mut [u32] = cast_slice_mut(to);
        for (index, to) in to.chunks_exact_mut(SIDE * BLOCK).enumerate() {
            let (group, position) = (index / positions, index % positions);
            let rows = (group * GROUP..channels.min((group + 1) * GROUP)).map(|channel| {
                &matrix[(channel * positions + position) * outputs..][columns.clone()]
            });
            pack_pairs(rows, to.chunks_exact_mut(BLOCK));
        }
    });
    packed
}
