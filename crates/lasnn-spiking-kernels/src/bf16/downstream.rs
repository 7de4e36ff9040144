//! The projections that read a layer's spikes: the layer computes its spike gradients from them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::frames::LaneGroup;
use super::window::{Window, WindowTap};
use super::{GROUP, RoundedMembraneGrad};
use crate::geometry::{ConvShape, Reached};
use crate::graph::PoolAndMask;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{SIDE, Tiles, pack_bf16_rows};
use lasnn_gemm::transpose::transpose;

/// A projection from this layer to a later one.
#[derive(Debug)]
pub(crate) struct Downstream {
    /// The membrane gradients of the later layer.
    pub membrane_grad: Arc<RoundedMembraneGrad>,
    pub pooling: PoolAndMask,
    /// The value of a spike after pooling and mask.
    pub scale: f32,
    /// 0 or 1, `[image][pooled position][lane]`; `None` without a mask.
    pub mask: Option<Scratch>,
    /// `None` for an identity.
    pub transposed_conv: Option<TransposedConv>,
}

/// A transposed convolution: it takes gradients from the outputs of a convolution to its inputs.
#[derive(Debug)]
pub(crate) struct TransposedConv {
    /// `[group of inputs][tap][group of outputs][pair of outputs][input of the group]`.
    weights: Scratch,
    /// Words of a group of inputs in `weights`.
    of_group: usize,
    /// The weights of each group of inputs once more, in the order of masked products:
    /// `[tap][group of outputs][input of the group][pair of outputs]`. Made at their first use.
    masked_weights: Vec<OnceLock<Scratch>>,
    /// By input position; a tap reads a position of the outputs.
    windows: Vec<Vec<WindowTap>>,
}

impl TransposedConv {
    /// Takes convolution weights `[outputs, inputs, taps]`. `reached` are the output positions that
    /// each tap connects with the input positions, of which there are `positions`.
    pub fn new(
        weights: &[f32],
        shape: ConvShape,
        outputs: &RoundedMembraneGrad,
        (reached, positions): (&Reached, usize),
    ) -> Self {
        let mut windows = vec![Vec::new(); positions];
        for (tap, reached) in reached.iter().enumerate() {
            for &[from, to] in reached {
                windows[from].push(WindowTap { tap, position: to });
            }
        }
        let (weights, of_group) = pack_transposed(weights, shape, outputs.rows.groups);
        let masked_weights = weights.chunks_exact(of_group).map(|_| OnceLock::new()).collect();
        Self { weights, of_group, masked_weights, windows }
    }

    /// Positions of the inputs.
    pub fn positions(&self) -> usize {
        self.windows.len()
    }

    /// Bytes of the weights of a group of inputs.
    pub fn bytes(&self) -> usize {
        self.of_group * size_of::<u32>()
    }

    /// Writes the gradients `[frame][lane of the group]` of input spikes, for a range of frames
    /// that starts with a whole tile.
    #[inline(always)]
    pub fn product<T: Tiles>(
        &self,
        tiles: &mut T,
        (membrane_grad, range): (&RoundedMembraneGrad, Range<usize>),
        at: LaneGroup,
        sums: &mut [f32],
    ) {
        let weights = self.weights.chunks_exact(self.of_group).nth(at.group);
        // Lanes that only fill up a channel tile have no weights.
        let Some(weights) = weights else { return sums.fill(0.0) };
        let (frames, taps) = (&membrane_grad.rows, &self.windows[at.position]);
        let window = Window { frames, taps, weights: cast_slice(weights), outputs: GROUP };
        window.product(tiles, range, sums);
    }

    /// Like [`Self::product`] for all frames, but only for lanes that are set in `needed`, a word
    /// for each frame. Other lanes are unspecified.
    ///
    /// Computes all lanes where that takes less time.
    #[inline(always)]
    pub fn masked_product<T: Tiles>(
        &self,
        tiles: &mut T,
        membrane_grad: &RoundedMembraneGrad,
        at: LaneGroup,
        needed: &[u32],
        sums: &mut [f32],
    ) {
        let (frames, taps) = (&membrane_grad.rows, &self.windows[at.position]);
        let (products, of_group) = (taps.len() * frames.groups, GROUP * SIDE);
        let count = needed.iter().map(|needed| needed.count_ones() as usize).sum();
        let weights = self.masked_weights.get(at.group);
        let weights = weights.filter(|_| tiles.prefers_masked(count, needed.len(), products));
        let Some(weights) = weights else {
            return self.product(tiles, (membrane_grad, 0..frames.room), at, sums);
        };
        let weights: &[u32] = cast_slice(weights.get_or_init(|| self.pack_masked(at.group)));
        let products = taps.iter().flat_map(|&WindowTap { tap, position }| {
            let weights = weights[tap * frames.groups * of_group..].chunks_exact(of_group);
            let groups = (0..frames.groups).zip(weights);
            groups.map(move |(group, weights)| {
                [frames.channel_pairs(LaneGroup { position, group }, 0), weights]
            })
        });
        let products: Vec<[&[u32]; 2]> = products.collect();
        tiles.masked_product(needed, &products, &mut sums[..needed.len() * GROUP]);
    }

    /// The weights of a group of inputs in the order of masked products.
    fn pack_masked(&self, group: usize) -> Scratch {
        let weights = &self.weights[group * self.of_group..][..self.of_group];
        let mut packed = Scratch::new(weights.len());
        let size = GROUP * SIDE;
        for (from, to) in weights.chunks_exact(size).zip(packed.chunks_exact_mut(size)) {
            transpose((from, GROUP), (to, SIDE), [SIDE, GROUP]);
        }
        packed
    }
}

/// Packs weights `[outputs, inputs, taps]` as `[group of inputs][tap][group of outputs]
/// [pair of outputs][input of the group]`; also returns how many words a group of inputs has.
fn pack_transposed(
    weights: &[f32],
    ConvShape { inputs, taps, .. }: ConvShape,
    output_groups: usize,
) -> (Scratch, usize) {
    // Pairs of outputs.
    let width = output_groups * SIDE;
    let of_group = taps * width * GROUP;
    let mut packed = Scratch::new(inputs.div_ceil(GROUP) * of_group);
    let is_whole = 2 * packed.len() == weights.len();
    packed.par_chunks_exact_mut(of_group).enumerate().for_each(|(group, to)| {
        if !is_whole {
            to.fill(0.0);
        }
        let columns = group * GROUP * taps..inputs.min((group + 1) * GROUP) * taps;
        // The last of an odd number of outputs has no partner.
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
    (packed, of_group)
}
