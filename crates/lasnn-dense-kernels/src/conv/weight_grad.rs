//! The gradient of a convolution with respect to its weights.
//!
//! Its sums run over positions, so the vectors of the inner loop run over input channels. The input
//! is transposed, so that its channels are the last axis. At each position, the inner loop
//! multiplies the channels that a tap reads by the gradients of a block of outputs.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::gather::{Gather, LANES, OUTPUTS, block_outputs, flat_positions};
use super::pack::layout;
use super::padded::planes;
use super::shape::ConvShape;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, RowCopy, SIDE};
use lasnn_gemm::transpose::transpose;

// The most columns and blocks of outputs of a job. Jobs share no sum, so that the number of threads
// changes no bit.
const COLUMNS: usize = 9;
const BLOCKS: usize = 4;

/// With fewer input channels than this, a vector of channels would be mostly empty.
const FEW_INPUTS: usize = 8;

/// The gradient with respect to the weights.
///
/// [`write`](Self::write) packs the output gradients of as many images as an element contains
/// numbers. After that, [`multiply`](Self::multiply) computes the gradient over all images.
pub(super) struct WeightGrad<F> {
    format: F,
    shape: ConvShape,
    input: TransposedInput,
    /// The number of elements of a block of outputs.
    block_len: usize,
}

impl<F: Format> WeightGrad<F> {
    /// Transposes the input.
    pub fn new(format: F, shape: ConvShape, input: &[f32]) -> Self {
        let input = match shape.inputs < FEW_INPUTS {
            true => TransposedInput::patches(format, &shape, input),
            false => TransposedInput::channels(format, &shape, input),
        };
        let size = [shape.output_height(), shape.output_width()];
        let positions = match F::TILED {
            true => flat_positions(size, input.pitch),
            false => size[0] * size[1],
        };
        Self { format, shape, input, block_len: block_outputs::<F>() * positions }
    }

    fn blocks(&self) -> usize {
        self.shape.outputs.div_ceil(block_outputs::<F>())
    }

    /// The number of elements that [`write`](Self::write) writes.
    pub fn length(&self) -> usize {
        self.blocks() * self.block_len
    }

    /// Packs the output gradients of as many images as an element contains numbers. The second
    /// slice is empty if there is no second image.
    pub fn write(&self, images: [&[f32]; 2], to: &mut [F::Element]) {
        match F::TILED {
            true => self.write_flat(images, to),
            false => self.write_transposed(images, to),
        }
    }

    /// Writes `[blocks, positions, outputs of a block]`. The last block is padded with zeros.
    fn write_transposed(&self, images: [&[f32]; 2], to: &mut [F::Element]) {
        let plane = self.shape.output_height() * self.shape.output_width();
        let zeros = Scratch::zeros(plane);
        let mut rows = Scratch::new(OUTPUTS * plane);
        for (block, target) in to.chunks_exact_mut(OUTPUTS * plane).enumerate() {
            for (at, row) in rows.chunks_exact_mut(plane).enumerate() {
                let [first, second] = planes(images, block * OUTPUTS + at, 1, plane)
                    .map(|plane| if plane.is_empty() { &zeros } else { plane });
                self.format.interleave(first, second, cast_slice_mut(row));
            }
            let target = (cast_slice_mut(target), OUTPUTS);
            transpose((&rows, plane), target, [OUTPUTS, plane]);
        }
    }

    /// Writes `[outputs, positions]`, with rows at the pitch of the input. Elements between rows
    /// are zero, and so is the padding of outputs and positions.
    fn write_flat(&self, images: [&[f32]; 2], to: &mut [F::Element]) {
        let [rows, columns] = [self.shape.output_height(), self.shape.output_width()];
        let flat = self.block_len / block_outputs::<F>();
        let pitch = self.input.pitch;
        let zeros = Scratch::zeros(rows * columns);
        let row_copy = RowCopy { rows, length: columns, from_pitch: columns, to_pitch: pitch };
        for (output, to) in to.chunks_exact_mut(flat).enumerate() {
            let planes = planes(images, output, 1, rows * columns);
            let planes = planes.map(|plane| if plane.is_empty() { &zeros } else { plane });
            self.format.interleave_rows(planes, to, row_copy);
            for row in 1..rows {
                to[(row - 1) * pitch + columns..row * pitch].fill(F::Element::default());
            }
            to[(rows - 1) * pitch + columns..].fill(F::Element::default());
        }
    }

    /// Writes the gradient `[outputs, inputs, kernel, kernel]`, given the packed output gradients
    /// of all images.
    pub fn multiply(&self, grads: &[F::Element], weight_grad: &mut [f32]) {
        let Self { format, shape, ref input, block_len } = *self;
        let sources: &[F::Element] = cast_slice(&input.images);
        let size = [shape.output_height(), shape.output_width()];
        let (outputs, blocks) = (block_outputs::<F>(), self.blocks());
        let blocks_per_job = (blocks / 2).clamp(1, BLOCKS);
        let jobs: Vec<(usize, usize)> = (0..input.starts.len())
            .step_by(COLUMNS)
            .flat_map(|column| {
                (0..blocks).step_by(blocks_per_job).map(move |block| (column, block))
            })
            .collect();
        let sums: Vec<_> = jobs
            .par_iter()
            .map(|&(column, block)| {
                let starts = &input.starts[column..input.starts.len().min(column + COLUMNS)];
                let blocks = block..blocks.min(block + blocks_per_job);
                let mut sums = vec![[0.0; LANES]; blocks.len() * starts.len() * outputs];
                let sources: &[[F::Element; LANES]] = sources.as_chunks().0;
                for (image, grads) in grads.chunks_exact(self.length()).enumerate() {
                    let source = &sources[image * input.image..];
                    let grads = &grads[blocks.start * block_len..blocks.end * block_len];
                    let pitch = input.pitch;
                    format.multiply(Gather { source, starts, pitch, grads, size, sums: &mut sums });
                }
                sums
            })
            .collect();
        let depth = shape.inputs * shape.taps();
        for (&(first_column, first_block), sums) in jobs.iter().zip(&sums) {
            let columns = COLUMNS.min(input.starts.len() - first_column);
            for (at, sums) in sums.chunks_exact(outputs).enumerate() {
                let (block, column) = (first_block + at / columns, first_column + at % columns);
                for (output, sums) in (block * outputs..shape.outputs).zip(sums) {
                    for (lane, &sum) in sums.iter().enumerate() {
                        let weight = input.weight(column, lane);
                        if weight < depth {
                            weight_grad[output * depth + weight] = sum;
                        }
                    }
                }
            }
        }
    }
}

/// Packs images, as many at once as an element contains numbers, followed by `slack` zeros.
///
/// `write` receives these images and a slice of `length` elements. If there is no second image, it
/// is an empty slice.
fn pack_images<F: Format>(
    images: &[f32],
    image: usize,
    [length, slack]: [usize; 2],
    write: impl Fn([&[f32]; 2], &mut [F::Element]) + Sync,
) -> Scratch {
    let whole = (images.len() / image).div_ceil(F::PACKED) * length;
    let mut packed = Scratch::new(whole + slack);
    packed[whole..].fill(0.0);
    let groups = packed[..whole].par_chunks_mut(length).zip(images.par_chunks(F::PACKED * image));
    groups.for_each(|(to, images)| write(images.split_at(image).into(), cast_slice_mut(to)));
    packed
}

/// The input, with [`LANES`] elements at each position that belong to different weights.
struct TransposedInput {
    /// All images, packed.
    images: Scratch,
    /// The number of positions of an image.
    image: usize,
    pitch: usize,
    /// The position at which each column of [`LANES`] weights begins.
    starts: Vec<usize>,
    /// The distance of the weights of neighbouring lanes.
    taps: usize,
}

impl TransposedInput {
    /// One lane for each channel. The taps read a channel at different positions.
    fn channels<F: Format>(format: F, shape: &ConvShape, input: &[f32]) -> Self {
        let (padded, offsets) = layout(shape);
        let rows_by_phase = padded.rows_by_phase();
        let plane = shape.height * shape.width;
        let blocks = shape.inputs.div_ceil(LANES);
        let image = blocks * padded.len();
        let lengths = [image * LANES, slack::<F>()];
        let images = pack_images::<F>(input, shape.image(), lengths, |images, to| {
            let to: &mut [[F::Element; LANES]] = to.as_chunks_mut().0;
            let (mut channels, mut buffer) = (padded.zeros(LANES), padded.buffer());
            for (block, to) in to.chunks_mut(padded.len()).enumerate() {
                let planes = planes(images, block * LANES, LANES, plane);
                let memory = (&mut *channels, &mut *buffer);
                padded.fill_transposed(format, &rows_by_phase, memory, planes, to);
            }
        });
        let starts = (0..blocks).flat_map(|block| {
            let first = block * padded.len();
            offsets.iter().map(move |offset| first + offset)
        });
        let starts = starts.collect();
        Self { images, image, pitch: padded.pitch, starts, taps: shape.taps() }
    }

    /// One lane for each weight of an output (im2col), for inputs with few channels.
    fn patches<F: Format>(format: F, shape: &ConvShape, input: &[f32]) -> Self {
        let (padded, offsets) = layout(shape);
        let rows_by_phase = padded.rows_by_phase();
        let [rows, columns] = [shape.output_height(), shape.output_width()];
        let blocks = (shape.inputs * shape.taps()).div_ceil(LANES);
        let image = blocks * rows * columns;
        let lengths = [image * LANES, slack::<F>()];
        let images = pack_images::<F>(input, shape.image(), lengths, |images, to| {
            let mut channels = padded.zeros(shape.inputs);
            let channels: &mut [F::Element] = cast_slice_mut(&mut channels);
            let mut buffer = padded.buffer();
            // Lanes without a weight stay zero.
            to.fill(F::Element::default());
            let to: &mut [[F::Element; LANES]] = to.as_chunks_mut().0;
            for (channel, to) in channels.chunks_exact_mut(padded.len()).enumerate() {
                let planes = planes(images, channel, 1, shape.height * shape.width);
                padded.fill(format, &rows_by_phase, to, planes, &mut buffer);
            }
            for weight in 0..shape.inputs * shape.taps() {
                let (channel, tap) = (weight / shape.taps(), weight % shape.taps());
                let source = &channels[channel * padded.len() + offsets[tap]..];
                let to = &mut to[weight / LANES * rows * columns..][..rows * columns];
                let rows = to.chunks_exact_mut(columns).zip(source.chunks(padded.pitch));
                for (to, source) in rows {
                    for (to, &value) in to.iter_mut().zip(source) {
                        to[weight % LANES] = value;
                    }
                }
            }
        });
        let starts = (0..blocks).map(|block| block * rows * columns).collect();
        Self { images, image, pitch: columns, starts, taps: 1 }
    }

    /// The index of the weight of a lane in a column. For lanes without a weight, it is at least
    /// the number of weights of an output.
    fn weight(&self, column: usize, lane: usize) -> usize {
        (column / self.taps * LANES + lane) * self.taps + column % self.taps
    }
}

/// Elements that tiles may read after the last image, since they multiply [`SIDE`] positions at
/// once.
fn slack<F: Format>() -> usize {
    if F::TILED { SIDE * LANES } else { 0 }
}
