//! Gradients of input spikes: dense, since the gradient of a membrane is.
//!
//! A direct product in registers: a few rows of gradients by two registers of channels, and for
//! each weight one multiply-add per row. No matrix of patches is made.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::memory::Scratch;

use super::geometry::{Class, Geometry, Tap};
use super::simd::LANES;
use super::site_grad::SiteGrad;

/// Channels of a block.
const BLOCK: usize = 2 * LANES;

/// Rows whose sums are in registers together.
const TOGETHER: usize = 8;

/// Sums of two registers for each row.
type Sums<S> = [[<S as Simd>::f32s; 2]; TOGETHER];

/// Adds `values · weights` to the sums of two registers: `values` are rows of as many numbers as
/// there are weight rows, `weights` rows of a [`BLOCK`], of which the two registers from `part` on
/// are taken.
#[inline(always)]
fn multiply<S: Simd>(
    simd: S,
    mut sums: Sums<S>,
    values: [&[f32]; TOGETHER],
    weights: &[f32],
    part: usize,
) -> Sums<S> {
    let lanes = BLOCK / S::F32_LANES;
    let weights = S::as_simd_f32s(weights).0;
    for (sixteen, weights) in weights.chunks_exact(LANES * lanes).enumerate() {
        let values: [&[f32; LANES]; TOGETHER] =
            std::array::from_fn(|row| &values[row].as_chunks().0[sixteen]);
        for (at, weights) in weights.chunks_exact(lanes).enumerate() {
            let values = values.map(|row| row[at]);
            sums = add_products(simd, sums, values, [weights[part], weights[part + 1]]);
        }
    }
    sums
}

/// One multiply-add per sum. Takes and returns the sums by value, so that they stay in registers.
#[inline(always)]
fn add_products<S: Simd>(
    simd: S,
    sums: Sums<S>,
    values: [f32; TOGETHER],
    weights: [S::f32s; 2],
) -> Sums<S> {
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1], [e0, e1], [f0, f1], [g0, g1], [h0, h1]] = sums;
    let [a, b, c, d, e, f, g, h] = values;
    let row = |value: f32, low, high| {
        let value = simd.splat_f32s(value);
        [simd.mul_add_f32s(value, weights[0], low), simd.mul_add_f32s(value, weights[1], high)]
    };
    [
        row(a, a0, a1),
        row(b, b0, b1),
        row(c, c0, c1),
        row(d, d0, d1),
        row(e, e0, e1),
        row(f, f0, f1),
        row(g, g0, g1),
        row(h, h0, h1),
    ]
}

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
    let classes = geometry.classes();
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
            let weights = weights[first * taps..].chunks_exact(taps).take(count);
            for (lane, weights) in weights.enumerate() {
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
    classes: &'a [Class<'a>],
    bases: &'a [u32],
}

impl WithSimd for Frame<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let outputs = self.delta.grid.lanes();
        let blocks = self.packed.chunks_exact(self.taps * outputs * BLOCK);
        for (block, packed) in blocks.enumerate() {
            for Class { taps, positions } in self.classes {
                for positions in positions.chunks(TOGETHER) {
                    // Two registers of 16 lanes, four of 8, and so on: always `BLOCK` channels.
                    for part in (0..BLOCK / S::F32_LANES).step_by(2) {
                        let sums = self.sums(simd, part, packed, taps, positions);
                        self.write::<S>(block * BLOCK + part * S::F32_LANES, positions, &sums);
                    }
                }
            }
        }
    }
}

impl Frame<'_> {
    /// The sums of up to [`TOGETHER`] positions; those that are missing repeat the last one.
    #[inline(always)]
    fn sums<S: Simd>(
        &self,
        simd: S,
        part: usize,
        packed: &[f32],
        taps: &[Tap],
        positions: &[usize],
    ) -> Sums<S> {
        let delta = self.delta;
        let (tile, outputs) = (delta.grid.tile, delta.grid.lanes());
        let last = positions.len() - 1;
        let bases: [usize; TOGETHER] =
            std::array::from_fn(|row| self.bases[positions[row.min(last)]] as usize);
        let mut sums = [[simd.splat_f32s(0.0); 2]; TOGETHER];
        for index in 0..delta.grid.tiles() {
            let step = delta.step(index, self.image, self.step);
            for &Tap { index: tap, offset } in taps {
                let values = bases.map(|base| &step[(base + offset) * tile..][..tile]);
                let weights = &packed[(tap * outputs + index * tile) * BLOCK..][..tile * BLOCK];
                sums = multiply(simd, sums, values, weights, part);
            }
        }
        sums
    }

    /// Writes the sums of some positions, from a lane on.
    #[inline(always)]
    fn write<S: Simd>(&mut self, first: usize, positions: &[usize], sums: &Sums<S>) {
        for (&position, sums) in positions.iter().zip(sums) {
            let row = &mut self.gradient[position * self.lanes..][..self.lanes];
            for (half, sum) in sums.iter().enumerate() {
                // Blocks may reach beyond the lanes of the spikes.
                let lane = first + half * S::F32_LANES;
                if lane < row.len() {
                    S::as_mut_simd_f32s(&mut row[lane..]).0[0] = *sum;
                }
            }
        }
    }
}

/// Inputs whose weights stay in a core's second-level cache while all images and steps pass.
const INPUTS: usize = 32;

/// The gradient `[image and step][position][lane]` with respect to spikes on maps of `positions`,
/// given weights `[inputs, outputs]`, the inputs in the order channels, positions, and the gradients
/// `delta` `[tile][image and step][lane]` of the outputs.
pub(super) fn matrix(
    weights: &[f32],
    outputs: usize,
    (delta, tile): (&[f32], usize),
    (positions, lanes): (usize, usize),
) -> Vec<f32> {
    let output_lanes = outputs.next_multiple_of(tile);
    let rows = delta.len() / output_lanes;
    let packed = pack_rows(delta, (rows, tile), output_lanes);
    let inputs = weights.len() / outputs;
    // By input first: each thread writes its own inputs.
    let row_lanes = rows.next_multiple_of(BLOCK);
    let mut by_input = Scratch::new(inputs * row_lanes);
    let chunks =
        by_input.par_chunks_mut(INPUTS * row_lanes).zip(weights.par_chunks(INPUTS * outputs));
    chunks.for_each(|(by_input, weights)| {
        Arch::new().dispatch(Inputs { by_input, weights, outputs, output_lanes, packed: &packed });
    });
    let mut gradient = vec![0.0; rows * positions * lanes];
    gradient.par_chunks_mut(positions * lanes).enumerate().for_each(|(row, gradient)| {
        for (input, sums) in by_input.chunks_exact(row_lanes).enumerate() {
            gradient[input % positions * lanes + input / positions] = sums[row];
        }
    });
    gradient
}

/// `[tile][row][lane]` as `[block of rows][lane of all tiles][row of the block]`.
fn pack_rows(delta: &[f32], (rows, tile): (usize, usize), output_lanes: usize) -> Vec<f32> {
    let mut packed = vec![0.0; rows.div_ceil(BLOCK) * output_lanes * BLOCK];
    packed.par_chunks_mut(output_lanes * BLOCK).enumerate().for_each(|(block, packed)| {
        for row in block * BLOCK..rows.min((block + 1) * BLOCK) {
            for output in 0..output_lanes {
                let at = (output / tile * rows + row) * tile + output % tile;
                packed[output * BLOCK + row % BLOCK] = delta[at];
            }
        }
    });
    packed
}

struct Inputs<'a> {
    /// `[input][row]`.
    by_input: &'a mut [f32],
    weights: &'a [f32],
    outputs: usize,
    output_lanes: usize,
    packed: &'a [f32],
}

impl WithSimd for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { by_input, weights, outputs, output_lanes, packed } = self;
        let count = weights.len() / outputs;
        let row_lanes = by_input.len() / count;
        // Whole registers of outputs; the few that are left come through a copy.
        let whole = outputs / LANES * LANES;
        let rest = outputs - whole;
        for (block, packed) in packed.chunks_exact(output_lanes * BLOCK).enumerate() {
            for first in (0..count).step_by(TOGETHER) {
                let input = |row: usize| (first + row).min(count - 1);
                let row = |row: usize| &weights[input(row) * outputs..][..outputs];
                let mut edges = [[0.0; LANES]; TOGETHER];
                for (index, edge) in edges.iter_mut().enumerate() {
                    edge[..rest].copy_from_slice(&row(index)[whole..]);
                }
                for part in (0..BLOCK / S::F32_LANES).step_by(2) {
                    let zero = [[simd.splat_f32s(0.0); 2]; TOGETHER];
                    let values = std::array::from_fn(|index| &row(index)[..whole]);
                    let mut sums = multiply(simd, zero, values, &packed[..whole * BLOCK], part);
                    if rest > 0 {
                        let values = std::array::from_fn(|index| &edges[index][..]);
                        let packed = &packed[whole * BLOCK..][..LANES * BLOCK];
                        sums = multiply(simd, sums, values, packed, part);
                    }
                    for (index, sums) in sums.iter().enumerate().take(count - first) {
                        let lane = block * BLOCK + part * S::F32_LANES;
                        let to = &mut by_input[(first + index) * row_lanes + lane..];
                        let to = S::as_mut_simd_f32s(&mut to[..2 * S::F32_LANES]).0;
                        to[0] = sums[0];
                        to[1] = sums[1];
                    }
                }
            }
        }
    }
}
