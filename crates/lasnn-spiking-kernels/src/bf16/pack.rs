//! Weights as pairs of bfloat16, in the order in which products read them.

use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{BLOCK, SIDE, pack_bf16};

use super::GROUP;
use crate::event::linear as event_linear;

/// Packs convolution weights `[outputs, inputs, taps]` as `[channel tile][block of outputs][tap]
/// [group of inputs][pair of inputs][output of the block]`.
///
/// `lanes` counts the outputs and the lanes that fill up the last channel tile; these get zeros.
pub(crate) fn pack_convolution(
    weights: &[f32],
    [inputs, taps]: [usize; 2],
    lanes: usize,
) -> Scratch {
    let of_group = SIDE * BLOCK;
    let of_tap = inputs.div_ceil(GROUP) * of_group;
    let is_whole = lanes * inputs * taps == weights.len() && inputs.is_multiple_of(GROUP);
    let mut packed = Scratch::new(lanes / BLOCK * taps * of_tap);
    packed.par_chunks_exact_mut(taps * of_tap).enumerate().for_each(|(block, to)| {
        let to: &mut [u32] = cast_slice_mut(to);
        if !is_whole {
            to.fill(0);
        }
        let outputs = weights.chunks_exact(inputs * taps).skip(block * BLOCK).take(BLOCK);
        for (lane, weights) in outputs.enumerate() {
            for (index, weights) in weights.chunks(2 * taps).enumerate() {
                let at = index / SIDE * of_group + index % SIDE * BLOCK + lane;
                let (first, second) = weights.split_at(taps);
                for (tap, &first) in first.iter().enumerate() {
                    // The last of an odd number of inputs has no partner.
                    let second = second.get(tap).copied().unwrap_or(0.0);
                    to[tap * of_tap + at] = pack_bf16(first, second);
                }
            }
        }
    });
    packed
}

/// Packs a matrix `[inputs, outputs]`, its inputs in the order channels, positions, as
/// `[block of outputs][group of channels][position][pair of channels][output of the block]`.
///
/// Outputs are filled up with zeros to whole channel tiles of [`event_linear::TILE`].
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
            pack_rows(rows, to.chunks_exact_mut(BLOCK));
        }
    });
    packed
}

/// Packs two rows at a time; a missing second row counts as zeros.
fn pack_rows<'a, 'b>(
    mut rows: impl Iterator<Item = &'a [f32]>,
    packed: impl Iterator<Item = &'b mut [u32]>,
) {
    for to in packed {
        let Some(first) = rows.next() else { return };
        let second = rows.next();
        for (column, (to, &first)) in to.iter_mut().zip(first).enumerate() {
            *to = pack_bf16(first, second.map_or(0.0, |second| second[column]));
        }
    }
}
