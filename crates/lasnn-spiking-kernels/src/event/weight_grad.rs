//! Weight gradients from events: only the weights of inputs that fired get a gradient.
//!
//! For each input channel and tap, the gradients of the outputs that its events reach are added up
//! in registers. So the gradient of a weight is read and written once for many events.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory;
use lasnn_gemm::transpose::transpose;

use crate::event::list::{ByChannel, Events};
use crate::event::simd::{Rows, add_rows, set_rows};
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::{Class, Geometry, Tap};
use crate::spikes::LANES;

/// Bytes of output gradients that stay in a core's second-level cache while all channels use them.
const CACHED: usize = 384 << 10;

/// Channels that one thread takes at once.
const CHANNELS: usize = 8;

/// Adds the weight gradient of a convolution to `gradient`,
/// `[tile][input][tap][output of the tile]`. `events` has an entry for each image, and
/// `membrane_grad` is that of the layer of the outputs.
pub(crate) fn convolution(
    gradient: &mut [f32],
    events: &[Events],
    membrane_grad: &MembraneGrad,
    geometry: &Geometry,
    (inputs, taps): (usize, usize),
    scale: f32,
) {
    let by_channel: Vec<ByChannel> = events.par_iter().map(|events| events.by_channel()).collect();
    let tile = membrane_grad.grid.tile;
    let chunk = CHANNELS * taps * tile;
    let classes = geometry.classes();
    let class_of = class_of(&classes, geometry.bases.len());
    for (tile_index, gradient) in gradient.chunks_exact_mut(inputs * taps * tile).enumerate() {
        gradient.par_chunks_mut(chunk).enumerate().for_each(|(index, gradient)| {
            let first = index * CHANNELS;
            vectors().dispatch(Channels {
                gradient,
                channels: first..inputs.min(first + CHANNELS),
                by_channel: &by_channel,
                membrane_grad,
                tile: tile_index,
                classes: &classes,
                class_of: &class_of,
                bases: &geometry.bases,
                taps,
                scale,
            });
        });
    }
}

/// For every input position the index of its class, or `None` if it reaches no output.
fn class_of(classes: &[Class<'_>], positions: usize) -> Vec<Option<usize>> {
    let mut class_of = vec![None; positions];
    for (index, class) in classes.iter().enumerate() {
        for &position in &class.positions {
            class_of[position] = Some(index);
        }
    }
    class_of
}

/// The weight gradient of some input channels and one tile of outputs.
struct Channels<'a> {
    gradient: &'a mut [f32],
    channels: Range<usize>,
    by_channel: &'a [ByChannel],
    membrane_grad: &'a MembraneGrad,
    tile: usize,
    classes: &'a [Class<'a>],
    class_of: &'a [Option<usize>],
    bases: &'a [u32],
    taps: usize,
    scale: f32,
}

impl WithSimd for Channels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (tile, steps) = (self.membrane_grad.grid.tile, self.membrane_grad.steps);
        let padded = self.membrane_grad.padded.positions();
        let positions = self.bases.len();
        let at_once = (CACHED / (padded * tile * size_of::<f32>())).clamp(1, steps);
        let mut lists = vec![Vec::new(); self.classes.len()];
        for (image, by_channel) in self.by_channel.iter().enumerate() {
            let membrane_grad = self.membrane_grad.image(self.tile, image);
            for first in (0..steps).step_by(at_once) {
                let range = first * positions..steps.min(first + at_once) * positions;
                let membrane_grad = &membrane_grad[first * padded * tile..];
                let gradient = self.gradient.chunks_exact_mut(self.taps * tile);
                for (channel, gradient) in self.channels.clone().zip(gradient) {
                    lists.iter_mut().for_each(Vec::clear);
                    for &place in by_channel.between(channel, range.clone()) {
                        let place = place as usize - range.start;
                        let (step, position) = (place / positions, place % positions);
                        if let Some(class) = self.class_of[position] {
                            lists[class].push((step * padded) as u32 + self.bases[position]);
                        }
                    }
                    for (class, list) in self.classes.iter().zip(&lists) {
                        for &Tap { index: tap, offset } in class.taps {
                            let sum = &mut gradient[tap * tile..][..tile];
                            let rows = Rows { matrix: membrane_grad, width: tile, first: offset };
                            add_rows(simd, sum, rows, list, self.scale);
                        }
                    }
                }
            }
        }
    }
}

/// The gradient `[outputs, inputs, taps]` from the sums of [`convolution`].
pub(crate) fn unpack(
    packed: &[f32],
    (outputs, inputs, taps): (usize, usize, usize),
    tile: usize,
) -> Vec<f32> {
    let rows = inputs * taps;
    // Every number is written, as many outputs at a time as a cache line of `packed` holds.
    let mut gradient = memory::take(outputs * rows);
    gradient.par_chunks_mut(LANES * rows).enumerate().for_each(|(block, gradient)| {
        let packed = &packed[block * LANES / tile * rows * tile..][..rows * tile];
        let lane = block * LANES % tile;
        let outputs = gradient.len() / rows;
        transpose((&packed[lane..], tile), (gradient, rows), [rows, outputs]);
    });
    gradient
}

/// Rows of a matrix that one thread takes at once.
const ROWS: usize = 64;

/// The gradient of a matrix `[inputs, outputs]`.
///
/// `by_row` is the result of [`by_row`](crate::event::row_events::RowEvents::by_row), and
/// `membrane_grad` is the gradient of the membranes of the outputs, `[tile][frame][lane]`.
pub(crate) fn matrix(
    (inputs, outputs): (usize, usize),
    by_row: &(Vec<u32>, Vec<usize>),
    membrane_grad: &[f32],
    tile: usize,
    scale: f32,
) -> Vec<f32> {
    let (frames, starts) = by_row;
    // Every number is written.
    let mut gradient = memory::take(inputs * outputs);
    let size = membrane_grad.len() / outputs.div_ceil(tile);
    gradient.par_chunks_mut(ROWS * outputs).enumerate().for_each(|(chunk, gradient)| {
        let first = chunk * ROWS;
        vectors().dispatch(MatrixRows {
            gradient,
            outputs,
            frames,
            starts: &starts[first..],
            membrane_grad,
            size,
            tile,
            scale,
        });
    });
    gradient
}

/// The gradient of some rows of a matrix.
struct MatrixRows<'a> {
    gradient: &'a mut [f32],
    outputs: usize,
    /// The frames that name a row, row after row.
    frames: &'a [u32],
    /// By row: the index of its first frame.
    starts: &'a [usize],
    membrane_grad: &'a [f32],
    /// Numbers in a tile of `membrane_grad`.
    size: usize,
    tile: usize,
    scale: f32,
}

impl WithSimd for MatrixRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (tile, membrane_grad) in self.membrane_grad.chunks_exact(self.size).enumerate() {
            let columns = tile * self.tile..self.outputs.min((tile + 1) * self.tile);
            let mut edge = vec![0.0; self.tile];
            for (row, gradient) in self.gradient.chunks_exact_mut(self.outputs).enumerate() {
                let frames = &self.frames[self.starts[row]..self.starts[row + 1]];
                let gradient = &mut gradient[columns.clone()];
                let rows = Rows { matrix: membrane_grad, width: self.tile, first: 0 };
                if gradient.len() == self.tile {
                    set_rows(simd, gradient, rows, frames, self.scale);
                } else {
                    set_rows(simd, &mut edge, rows, frames, self.scale);
                    gradient.copy_from_slice(&edge[..gradient.len()]);
                }
            }
        }
    }
}
