//! Gradients of input spikes: dense, since the gradient of a membrane is.
//!
//! A direct product in registers: a few rows of gradients by two registers of channels, and for
//! each weight one multiply-add per row. No matrix of patches is made.

use rayon::prelude::*;

use crate::memory::Scratch;

use super::geometry::{Class, Geometry, Tap};
use super::product::{BLOCK, Format, Precision, Product, Single, Sums, TOGETHER, Task};
use super::simd::LANES;
use super::site_grad::SiteGrad;

/// The shape of a convolution's weights `[outputs, inputs, taps]`, and of what they give.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub inputs: usize,
    pub taps: usize,
    /// Lanes of the gradient: as many as inputs, or more.
    pub lanes: usize,
}

/// The gradient `[image][step][position][lane]` with respect to spikes, given `delta` and weights.
pub(super) fn convolution(
    weights: &[f32],
    shape: Shape,
    delta: &SiteGrad,
    geometry: &Geometry,
    precision: Precision,
) -> Scratch {
    let run = Convolution { weights, shape, delta, geometry };
    match precision {
        Precision::F32 => run.with(Single { rounded: false }),
        Precision::Bf16 => {
            #[cfg(target_arch = "x86_64")]
            if let Some(pairs) = super::product::Pairs::detect() {
                return run.with(pairs);
            }
            run.with(Single { rounded: true })
        }
    }
}

struct Convolution<'a> {
    weights: &'a [f32],
    shape: Shape,
    delta: &'a SiteGrad,
    geometry: &'a Geometry,
}

impl Convolution<'_> {
    fn with<F: Format>(&self, format: F) -> Scratch {
        let Self { weights, shape, delta, geometry } = *self;
        let packed = format.block(pack(weights, shape, delta));
        let row = geometry.bases.len() * shape.lanes;
        let classes = geometry.classes();
        // Positions that reach nothing are not written.
        let mut gradient = Scratch::zeros(delta.images * delta.steps * row);
        gradient.par_chunks_mut(row).enumerate().for_each(|(frame, gradient)| {
            let (image, step) = (frame / delta.steps, frame % delta.steps);
            let tiles = (0..delta.grid.tiles()).map(|tile| {
                let numbers = delta.step(tile, image, step);
                let mut stored = vec![F::Number::default(); numbers.len() / F::HELD];
                format.store(numbers, &mut stored);
                stored
            });
            format.dispatch(Frame {
                gradient,
                packed: &packed,
                shape,
                width: delta.grid.tile / F::HELD,
                tiles: &tiles.collect::<Vec<_>>(),
                classes: &classes,
                bases: &geometry.bases,
            });
        });
        gradient
    }
}

/// Weights as `[block of inputs][tap][output lane][input of the block]`.
fn pack(weights: &[f32], shape: Shape, delta: &SiteGrad) -> Vec<f32> {
    let Shape { inputs, taps, .. } = shape;
    let output_lanes = delta.grid.lanes();
    let mut packed = vec![0.0; inputs.div_ceil(BLOCK) * taps * output_lanes * BLOCK];
    packed.par_chunks_mut(taps * output_lanes * BLOCK).enumerate().for_each(|(block, packed)| {
        let first = block * BLOCK;
        let count = BLOCK.min(inputs - first);
        for (output, weights) in weights.chunks_exact(inputs * taps).enumerate() {
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

/// One step of one image.
struct Frame<'a, N> {
    /// `[position][lane]`.
    gradient: &'a mut [f32],
    packed: &'a [N],
    shape: Shape,
    /// Numbers of a padded position in a tile.
    width: usize,
    /// Gradients of the outputs by tile.
    tiles: &'a [Vec<N>],
    classes: &'a [Class<'a>],
    bases: &'a [u32],
}

impl<N: Copy> Task<N> for Frame<'_, N> {
    #[inline(always)]
    fn run<P: Product<N>>(mut self, product: P) {
        let size = self.shape.taps * self.tiles.len() * self.width * BLOCK;
        for (block, packed) in self.packed.chunks_exact(size).enumerate() {
            for Class { taps, positions } in self.classes {
                for positions in positions.chunks(TOGETHER) {
                    self.positions(product, block * BLOCK, packed, taps, positions);
                }
            }
        }
    }
}

impl<N: Copy> Frame<'_, N> {
    /// Up to [`TOGETHER`] positions of a block; those that are missing repeat the last one.
    #[inline(always)]
    fn positions<P: Product<N>>(
        &mut self,
        product: P,
        first: usize,
        packed: &[N],
        taps: &[Tap],
        positions: &[usize],
    ) {
        let (width, last) = (self.width, positions.len() - 1);
        let bases: [usize; TOGETHER] =
            std::array::from_fn(|row| self.bases[positions[row.min(last)]] as usize);
        // Two registers of 16 lanes, four of 8, and so on: always `BLOCK` channels.
        for part in (0..BLOCK / P::LANES).step_by(2) {
            let mut sums = product.zero();
            for (index, tile) in self.tiles.iter().enumerate() {
                for &Tap { index: tap, offset } in taps {
                    let values = bases.map(|base| &tile[(base + offset) * width..][..width]);
                    let row = (tap * self.tiles.len() + index) * width;
                    let weights = &packed[row * BLOCK..][..width * BLOCK];
                    sums = product.multiply(sums, values, weights, part);
                }
            }
            self.write(product, first + part * P::LANES, positions, &sums);
        }
    }

    /// Writes the sums of some positions, from a lane on.
    #[inline(always)]
    fn write<P: Product<N>>(
        &mut self,
        product: P,
        first: usize,
        positions: &[usize],
        sums: &Sums<P::Register>,
    ) {
        for (&position, sums) in positions.iter().zip(sums) {
            let row = &mut self.gradient[position * self.shape.lanes..][..self.shape.lanes];
            for (half, sum) in sums.iter().enumerate() {
                // Blocks may reach beyond the lanes of the spikes.
                if let Some(to) = row.get_mut(first + half * P::LANES..).filter(|to| !to.is_empty())
                {
                    product.write(*sum, to);
                }
            }
        }
    }
}

/// Inputs whose weights stay in a core's second-level cache while all images and steps pass.
const INPUTS: usize = 32;

/// The gradients of a matrix' outputs.
#[derive(Clone, Copy)]
pub(super) struct OutputGrad<'a> {
    /// `[tile][image and step][lane]`.
    pub delta: &'a [f32],
    pub tile: usize,
    pub outputs: usize,
}

/// The gradient `[image and step][position][lane]` with respect to spikes on maps of `positions`,
/// given weights `[inputs, outputs]`, the inputs in the order channels, positions.
pub(super) fn matrix(
    weights: &[f32],
    grad: OutputGrad<'_>,
    to: (usize, usize),
    precision: Precision,
) -> Scratch {
    match precision {
        Precision::F32 => matrix_with(Single { rounded: false }, weights, grad, to),
        Precision::Bf16 => {
            #[cfg(target_arch = "x86_64")]
            if let Some(pairs) = super::product::Pairs::detect() {
                return matrix_with(pairs, weights, grad, to);
            }
            matrix_with(Single { rounded: true }, weights, grad, to)
        }
    }
}

fn matrix_with<F: Format>(
    format: F,
    weights: &[f32],
    grad: OutputGrad<'_>,
    (positions, lanes): (usize, usize),
) -> Scratch {
    let OutputGrad { delta, tile, outputs } = grad;
    let output_lanes = outputs.next_multiple_of(tile);
    let rows = delta.len() / output_lanes;
    let packed = format.block(pack_rows(delta, (rows, tile), output_lanes));
    let inputs = weights.len() / outputs;
    // By input first: each thread writes its own inputs.
    let row_lanes = rows.next_multiple_of(BLOCK);
    let mut by_input = Scratch::new(inputs * row_lanes);
    let chunks =
        by_input.par_chunks_mut(INPUTS * row_lanes).zip(weights.par_chunks(INPUTS * outputs));
    chunks.for_each(|(by_input, weights)| {
        // Rows are filled up with zeros.
        let width = output_lanes / F::HELD;
        let mut values = vec![F::Number::default(); weights.len() / outputs * width];
        let whole = outputs / LANES * LANES;
        for (row, values) in weights.chunks_exact(outputs).zip(values.chunks_exact_mut(width)) {
            let mut rest = [0.0; LANES];
            rest[..outputs - whole].copy_from_slice(&row[whole..]);
            format.store(&row[..whole], &mut values[..whole / F::HELD]);
            if whole < outputs {
                let values = &mut values[whole / F::HELD..][..LANES / F::HELD];
                format.store(&rest, values);
            }
        }
        format.dispatch(Inputs { by_input, row_lanes, values: &values, width, packed: &packed });
    });
    let mut gradient = Scratch::zeros(rows * positions * lanes);
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

/// Some inputs of a matrix, all rows.
struct Inputs<'a, N> {
    /// `[input][row]`.
    by_input: &'a mut [f32],
    row_lanes: usize,
    /// Weights `[input][output]`.
    values: &'a [N],
    width: usize,
    packed: &'a [N],
}

impl<N: Copy> Task<N> for Inputs<'_, N> {
    #[inline(always)]
    fn run<P: Product<N>>(self, product: P) {
        let Self { by_input, row_lanes, values, width, packed } = self;
        let count = values.len() / width;
        for (block, packed) in packed.chunks_exact(width * BLOCK).enumerate() {
            for first in (0..count).step_by(TOGETHER) {
                // Those that are missing repeat the last one.
                let rows: [&[N]; TOGETHER] = std::array::from_fn(|row| {
                    &values[(first + row).min(count - 1) * width..][..width]
                });
                for part in (0..BLOCK / P::LANES).step_by(2) {
                    let sums = product.multiply(product.zero(), rows, packed, part);
                    for (index, sums) in sums.iter().enumerate().take(count - first) {
                        let lane = block * BLOCK + part * P::LANES;
                        let to = &mut by_input[(first + index) * row_lanes + lane..];
                        product.write(sums[0], to);
                        product.write(sums[1], &mut to[P::LANES..]);
                    }
                }
            }
        }
    }
}
