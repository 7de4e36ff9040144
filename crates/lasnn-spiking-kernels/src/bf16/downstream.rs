//! What is downstream a layer: the gradients of its spikes come from there.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::conv::add_up;
use super::{GROUP, RoundedMembraneGrad};
use crate::f32::input_grad::Shape;
use crate::geometry::Reached;
use crate::graph::PoolAndMask;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{SIDE, Tiles, pack_bf16_rows};
use lasnn_gemm::transpose::transpose;

/// A projection of a later layer whose spikes come from this one.
#[derive(Debug)]
pub(crate) struct Downstream {
    /// Of the later layer.
    pub membrane_grad: Arc<RoundedMembraneGrad>,
    pub pooling: PoolAndMask,
    /// What a spike counts for where it is not silenced.
    pub scale: f32,
    /// 0 or 1 for `[image][position of the pooling][lane]`, where the pooling has a mask.
    pub mask: Option<Scratch>,
    /// Nothing for an identity.
    pub transposed_conv: Option<TransposedConv>,
}

/// A convolution, from its outputs to its inputs.
#[derive(Debug)]
pub(crate) struct TransposedConv {
    /// `[group of inputs][tap][group of outputs][pair of outputs][input of the group]`.
    weights: Scratch,
    /// Numbers of a group of inputs.
    of_group: usize,
    /// The same where only some gradients are needed for: by group of inputs, `[tap][group of outputs][input of
    /// the group][pair of outputs]`.
    rows: Vec<OnceLock<Scratch>>,
    /// For each position of the inputs the taps that reach an output, and which.
    windows: Vec<Vec<[usize; 2]>>,
}

impl TransposedConv {
    /// Of weights `[outputs, inputs, taps]` to those outputs which taps reach from so many input positions.
    pub fn new(
        weights: &[f32],
        shape: Shape,
        outputs: &RoundedMembraneGrad,
        (reached, positions): (&Reached, usize),
    ) -> Self {
        let mut windows = vec![Vec::new(); positions];
        for (tap, reached) in reached.iter().enumerate() {
            reached.iter().for_each(|&[from, to]| windows[from].push([tap, to]));
        }
        let (weights, of_group) = turn(weights, shape, outputs.rows.groups);
        let rows = weights.chunks_exact(of_group).map(|_| OnceLock::new()).collect();
        Self { weights, of_group, rows, windows }
    }

    /// Positions of the inputs.
    pub fn positions(&self) -> usize {
        self.windows.len()
    }

    /// Bytes of the weights of a group of inputs.
    pub fn bytes(&self) -> usize {
        self.of_group * size_of::<u32>()
    }

    /// Writes the gradients `[frame][lane of the group]` of input spikes at a position, for some frames from
    /// a whole tile on.
    #[inline(always)]
    pub fn sums<T: Tiles>(
        &self,
        tiles: &mut T,
        (membrane_grad, frames): (&RoundedMembraneGrad, Range<usize>),
        (position, group): (usize, usize),
        sums: &mut [f32],
    ) {
        let weights = self.weights.chunks_exact(self.of_group).nth(group);
        // Nothing comes for lanes beyond the last input.
        let Some(weights) = weights else { return sums.fill(0.0) };
        let (frames, window) = ((&membrane_grad.rows, frames), &self.windows[position]);
        add_up(tiles, frames, window, cast_slice(weights), GROUP, sums);
    }

    /// The same for all frames, as far as it is `needed` for, by frame a bit for each lane. The others are any.
    #[inline(always)]
    pub fn masked_product<T: Tiles>(
        &self,
        tiles: &mut T,
        membrane_grad: &RoundedMembraneGrad,
        (position, group): (usize, usize),
        needed: &[u32],
        sums: &mut [f32],
    ) {
        let (numbers, window) = (&membrane_grad.rows, &self.windows[position]);
        let (products, of_group) = (window.len() * numbers.groups, GROUP * SIDE);
        let count = needed.iter().map(|needed| needed.count_ones() as usize).sum();
        let rows =
            self.rows.get(group).filter(|_| tiles.prefers_masked(count, needed.len(), products));
        let Some(rows) = rows else {
            return self.sums(tiles, (membrane_grad, 0..numbers.room), (position, group), sums);
        };
        let rows: &[u32] = cast_slice(rows.get_or_init(|| self.transposed(group)));
        let products = window.iter().flat_map(|&[tap, position]| {
            let rows = rows[tap * numbers.groups * of_group..].chunks_exact(of_group);
            let groups = (0..numbers.groups).zip(rows);
            groups.map(move |(group, rows)| [numbers.from(position, group, 0), rows])
        });
        let products: Vec<[&[u32]; 2]> = products.collect();
        tiles.masked_product(needed, &products, &mut sums[..needed.len() * GROUP]);
    }

    /// The weights of a group of inputs, by input.
    fn transposed(&self, group: usize) -> Scratch {
        let weights = &self.weights[group * self.of_group..][..self.of_group];
        let mut rows = Scratch::new(weights.len());
        let size = GROUP * SIDE;
        for (from, to) in weights.chunks_exact(size).zip(rows.chunks_exact_mut(size)) {
            transpose((from, GROUP), (to, SIDE), [SIDE, GROUP]);
        }
        rows
    }
}

/// Weights `[outputs, inputs, taps]` as `[group of inputs][tap][group of outputs][pair of outputs][input of
/// the group]`, and how many numbers a group of inputs has.
fn turn(
    weights: &[f32],
    Shape { inputs, taps, .. }: Shape,
    output_groups: usize,
) -> (Scratch, usize) {
    // Pairs of outputs.
    let width = output_groups * SIDE;
    let of_group = taps * width * GROUP;
    let mut transposed_conv = Scratch::new(inputs.div_ceil(GROUP) * of_group);
    let is_whole = 2 * transposed_conv.len() == weights.len();
    transposed_conv.par_chunks_exact_mut(of_group).enumerate().for_each(|(group, to)| {
        if !is_whole {
            to.fill(0.0);
        }
        let columns = group * GROUP * taps..inputs.min((group + 1) * GROUP) * taps;
        // The last output of an odd number has no partner.
        let none = vec![0.0; columns.len()];
        let mut pairs = Scratch::new(columns.len());
        for (index, weights) in weights.chunks(2 * inputs * taps).enumerate() {
            let (first, second) = weights.split_at(inputs * taps);
            let second = second.get(columns.clone()).unwrap_or(&none);
            pack_bf16_rows(&first[columns.clone()], second, cast_slice_mut(&mut pairs));
            let to = (&mut to[index * GROUP..], width * GROUP);
            transpose((&pairs, taps), to, [columns.len() / taps, taps]);
        }
    });
    (transposed_conv, of_group)
}
