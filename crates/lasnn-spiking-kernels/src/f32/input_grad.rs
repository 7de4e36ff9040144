//! The gradient of a layer's input spikes, by dense products: membrane gradients are dense, too.
//!
//! A convolution is computed directly in registers, a few positions by two registers of channels,
//! with one multiply-add for each weight and position. No matrix of patches is made.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};
use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::matrix::{Matrix, multiply};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{
    BLOCK, BLOCK_ROWS, Format, FormatTask, Product, Task, depth_multiple, rows_by_block,
    with_format,
};

use crate::bf16;
use crate::event::simd::LANES;
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::{Class, ConvShape, Geometry, Tap};
use lasnn_gemm::transpose::transpose;

/// The gradient `[image][step][position][lane]` of the spikes that a convolution with weights
/// `[outputs, inputs, taps]` reads.
pub(crate) fn convolution(
    weights: &[f32],
    shape: ConvShape,
    membrane_grad: &MembraneGrad,
    geometry: &Geometry,
    precision: Precision,
) -> Scratch {
    with_format(precision, Convolution { weights, shape, membrane_grad, geometry })
}

struct Convolution<'a> {
    weights: &'a [f32],
    shape: ConvShape,
    membrane_grad: &'a MembraneGrad,
    geometry: &'a Geometry,
}

impl FormatTask for Convolution<'_> {
    type Output = Scratch;

    fn run<F: Format>(self, format: F) -> Scratch {
        let Self { weights, shape, membrane_grad, geometry } = self;
        if F::TILED {
            return bf16::input_grad(format, weights, shape, membrane_grad, geometry);
        }
        // Elements of a padded position in a channel tile.
        let tile = membrane_grad.grid.tile;
        let width = (tile / F::PACKED).next_multiple_of(depth_multiple::<F>());
        let lanes = membrane_grad.grid.tiles() * width * F::PACKED;
        let packed = block(format, &pack(weights, shape, [lanes, width * F::PACKED, tile]));
        let row = geometry.bases.len() * shape.lanes;
        let classes = geometry.classes();
        // Positions that reach no output are not written.
        let mut gradient = Scratch::zeros(membrane_grad.images * membrane_grad.steps * row);
        gradient.par_chunks_mut(row).enumerate().for_each(|(frame, gradient)| {
            let (image, step) = (frame / membrane_grad.steps, frame % membrane_grad.steps);
            let tiles = (0..membrane_grad.grid.tiles()).map(|index| {
                let numbers = membrane_grad.step(index, image, step);
                let length = numbers.len() / tile * width;
                if width * F::PACKED == tile {
                    let mut stored = Scratch::new(length);
                    format.pack_row(numbers, cast_slice_mut(&mut stored));
                    return stored;
                }
                let mut stored = Scratch::zeros(length);
                let positions = numbers.chunks_exact(tile).zip(stored.chunks_exact_mut(width));
                for (numbers, to) in positions {
                    format.pack_row(numbers, cast_slice_mut(&mut to[..tile / F::PACKED]));
                }
                stored
            });
            let tiles = &tiles.collect::<Vec<_>>();
            let packed: &[F::Element] = cast_slice(&packed);
            let (classes, bases) = (&classes[..], &geometry.bases[..]);
            format.dispatch(Frame { gradient, packed, shape, width, tiles, classes, bases });
        });
        gradient
    }
}

/// Stores rows of [`BLOCK`] weights in a format, one row for each element on the left of a product.
fn block<F: Format>(format: F, rows: &[f32]) -> Scratch {
    let mut block = Scratch::new(rows.len() / F::PACKED);
    let rows = rows.chunks_exact(F::PACKED * BLOCK);
    for (rows, to) in rows.zip(block.chunks_exact_mut(BLOCK)) {
        format.interleave(&rows[..BLOCK], &rows[rows.len() - BLOCK..], cast_slice_mut(to));
    }
    block
}

/// Packs weights as `[block of inputs][tap][output lane][input of the block]`. The outputs of a
/// channel tile, `tile` of them, take `room` output lanes.
fn pack(weights: &[f32], shape: ConvShape, [output_lanes, room, tile]: [usize; 3]) -> Vec<f32> {
    let ConvShape { inputs, taps, .. } = shape;
    let mut packed = vec![0.0; inputs.div_ceil(BLOCK) * taps * output_lanes * BLOCK];
    packed.par_chunks_mut(taps * output_lanes * BLOCK).enumerate().for_each(|(block, packed)| {
        let first = block * BLOCK;
        let count = BLOCK.min(inputs - first);
        for (output, weights) in weights.chunks_exact(inputs * taps).enumerate() {
            let output = output / tile * room + output % tile;
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

/// One image at one time step.
struct Frame<'a, N> {
    /// `[position][lane]`.
    gradient: &'a mut [f32],
    packed: &'a [N],
    shape: ConvShape,
    /// Elements of a padded position in a channel tile.
    width: usize,
    /// Membrane gradients, by channel tile.
    tiles: &'a [Scratch],
    classes: &'a [Class<'a>],
    bases: &'a [u32],
}

impl<N: Pod> Task<N> for Frame<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<N>>(mut self, product: P) {
        let size = self.shape.taps * self.tiles.len() * self.width * BLOCK;
        for (block, packed) in self.packed.chunks_exact(size).enumerate() {
            for Class { taps, positions } in self.classes {
                for positions in positions.chunks(BLOCK_ROWS) {
                    self.positions(product, block * BLOCK, packed, taps, positions);
                }
            }
        }
    }
}

impl<N: Pod> Frame<'_, N> {
    /// Computes a block of inputs at up to [`BLOCK_ROWS`] positions. If there are fewer, the last
    /// one is computed repeatedly.
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
        let bases: [usize; BLOCK_ROWS] =
            std::array::from_fn(|row| self.bases[positions[row.min(last)]] as usize);
        // A block is two registers of 16 lanes, or four of 8, and so on.
        for part in (0..BLOCK / P::LANES).step_by(2) {
            let mut sums = [[product.zero(); 2]; BLOCK_ROWS];
            for (index, tile) in self.tiles.iter().enumerate() {
                for &Tap { index: tap, offset } in taps {
                    let tile: &[N] = cast_slice(tile);
                    let values = bases.map(|base| &tile[(base + offset) * width..][..width]);
                    let row = (tap * self.tiles.len() + index) * width;
                    let weights = &packed[row * BLOCK..][..width * BLOCK];
                    sums = rows_by_block(product, sums, values, weights, part);
                }
            }
            self.write(product, first + part * P::LANES, positions, &sums);
        }
    }

    /// Writes the sums of these positions, from a lane on.
    #[inline(always)]
    fn write<P: Product<N>>(
        &mut self,
        product: P,
        first: usize,
        positions: &[usize],
        sums: &[[P::Sums; 2]; BLOCK_ROWS],
    ) {
        for (&position, sums) in positions.iter().zip(sums) {
            let row = &mut self.gradient[position * self.shape.lanes..][..self.shape.lanes];
            for (half, sum) in sums.iter().enumerate() {
                // The last block may have more inputs than there are lanes.
                if let Some(to) = row.get_mut(first + half * P::LANES..).filter(|to| !to.is_empty())
                {
                    product.write(*sum, to);
                }
            }
        }
    }
}

/// The membrane gradients of a linear layer.
#[derive(Clone, Copy)]
pub(crate) struct OutputGrad<'a> {
    /// `[channel tile][image and step][lane]`.
    pub membrane_grad: &'a [f32],
    /// Lanes of a channel tile.
    pub tile: usize,
    pub outputs: usize,
}

/// The gradient `[image and step][position][lane]` of the spikes that a linear layer reads.
///
/// `weights` are `[inputs, outputs]`, the inputs in the order channels, positions.
pub(crate) fn matrix(
    weights: &[f32],
    grad: OutputGrad<'_>,
    (positions, lanes): (usize, usize),
    precision: Precision,
) -> Scratch {
    let OutputGrad { membrane_grad, tile, outputs } = grad;
    let rows = membrane_grad.len() / outputs.next_multiple_of(tile);
    let mut by_row = Scratch::new(rows * outputs);
    by_row.par_chunks_mut(outputs).enumerate().for_each(|(row, by_row)| {
        for (number, by_row) in by_row.chunks_mut(tile).enumerate() {
            by_row.copy_from_slice(&membrane_grad[(number * rows + row) * tile..][..by_row.len()]);
        }
    });
    let inputs = weights.len() / outputs;
    // Inputs are the rows, so that the weights are read from memory once and in order.
    let mut by_input = Scratch::new(inputs * rows);
    let by_output = Matrix::rows(&by_row, [rows, outputs]).transposed();
    multiply(precision, Matrix::rows(weights, [inputs, outputs]), by_output, &mut by_input);
    // All of it is written, as many rows at once as a cache line of `by_input` holds.
    let mut gradient = Scratch::new(rows * positions * lanes);
    let channels = inputs / positions;
    gradient.par_chunks_mut(LANES * positions * lanes).enumerate().for_each(|(block, gradient)| {
        let rows_here = LANES.min(rows - block * LANES);
        if channels < lanes {
            gradient.fill(0.0);
        }
        for position in 0..positions {
            let from = &by_input[position * rows + block * LANES..];
            let to = &mut gradient[position * lanes..];
            let pitches = (positions * rows, positions * lanes);
            transpose((from, pitches.0), (to, pitches.1), [channels, rows_here]);
        }
    });
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Padded;
    use crate::spikes::Grid;
    use lasnn_core::Shape;
    use lasnn_core::simd::Level;

    /// Small integers, which bfloat16 holds exactly.
    fn numbers(count: usize, by: usize) -> Vec<f32> {
        (0..count).map(|i| (i * by % 15) as f32 - 7.0).collect()
    }

    #[test]
    fn all_formats_give_equal_gradients_on_maps_of_any_size() {
        for (size, stride, channels, tile, inputs) in [
            ([16, 16], 1, 40, 32, 33),
            ([8, 8], 1, 16, 16, 16),
            ([4, 5], 1, 130, 64, 70),
            ([9, 7], 2, 64, 64, 3),
            ([1, 1], 1, 20, 32, 32),
        ] {
            let pooled = Shape { channels: inputs, height: size[0], width: size[1] };
            let [height, width] = size.map(|size: usize| size.div_ceil(stride));
            let shape = Shape { channels, height, width };
            let (grid, padded) = (Grid { shape, tile }, Padded { shape, border: 1 });
            let (images, steps) = (2, 2);
            let of_tile = images * steps * padded.positions() * tile;
            let mut gradient = Scratch::zeros(grid.tiles() * of_tile);
            let values = numbers(gradient.len(), 11);
            for (place, lanes) in gradient.chunks_exact_mut(tile).enumerate() {
                let (index, position) = (place * tile / of_tile, place % padded.positions());
                let (row, column) = (position / padded.width(), position % padded.width());
                let inside = (1..=height).contains(&row) && (1..=width).contains(&column);
                let count = if inside { tile.min(channels - index * tile) } else { 0 };
                lanes[..count].copy_from_slice(&values[place * tile..][..count]);
            }
            let membrane_grad = MembraneGrad { grid, padded, images, steps, gradient };
            let weights = numbers(channels * inputs * 9, 7);
            let lanes = inputs.next_multiple_of(if inputs == 70 { 128 } else { 16 });
            let shape = ConvShape { inputs, taps: 9, lanes };
            let geometry = Geometry::new(pooled, padded, 3, stride);
            let run =
                |precision| convolution(&weights, shape, &membrane_grad, &geometry, precision);
            let expected = run(Precision::F32);
            assert!(expected.iter().any(|&x| x != 0.0));
            assert_eq!(run(Precision::Bf16)[..], expected[..]);
            assert_eq!(Level::EmulatedTiles.run(2, || run(Precision::Bf16))[..], expected[..]);
        }
    }
}
