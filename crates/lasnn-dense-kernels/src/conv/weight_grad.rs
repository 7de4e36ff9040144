//! The gradient of a convolution with respect to its weights.
//!
//! Here the sum runs over positions, so the vectors run over input channels: input and output
//! gradient are turned around, and each position multiplies the channels that a tap finds there
//! with the gradients of a block of outputs.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::forward::layout;
use super::gather::{Gather, LANES, OUTPUTS, block_outputs, flat_positions};
use super::padded::planes;
use super::shape::ConvShape;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, Rows, SIDE};
use lasnn_gemm::transpose::transpose;

/// Columns and blocks of outputs of a job. Jobs share no sum, so threads change no bit.
const COLUMNS: usize = 9;
const BLOCKS: usize = 4;

/// With fewer inputs than this, a vector of them would be mostly empty.
const FEW_INPUTS: usize = 8;

/// The gradient with respect to the weights of a convolution: the output's gradients of as many images
/// as a number holds are [written](Self::write), and then all of them [multiplied](Self::multiply).
pub(super) struct WeightGrad<F> {
    format: F,
    shape: ConvShape,
    turned: Turned,
    /// Numbers of a block of outputs.
    of_block: usize,
}

impl<F: Format> WeightGrad<F> {
    /// Turns the input around.
    pub fn new(format: F, shape: ConvShape, input: &[f32]) -> Self {
        let turned = match shape.inputs < FEW_INPUTS {
            true => Turned::patches(format, &shape, input),
            false => Turned::channels(format, &shape, input),
        };
        let size = [shape.output_height(), shape.output_width()];
        let positions = match F::TILED {
            true => flat_positions(size, turned.pitch),
            false => size[0] * size[1],
        };
        Self { format, shape, turned, of_block: block_outputs::<F>() * positions }
    }

    fn blocks(&self) -> usize {
        self.shape.outputs.div_ceil(block_outputs::<F>())
    }

    /// How many numbers [`write`](Self::write) writes.
    pub fn length(&self) -> usize {
        self.blocks() * self.of_block
    }

    /// Stores the output's gradient of as many images as a number holds, the second one empty if there
    /// is none.
    pub fn write(&self, images: [&[f32]; 2], to: &mut [F::Number]) {
        match F::TILED {
            true => self.write_flat(images, to),
            false => self.write_turned(images, to),
        }
    }

    /// As `[blocks, positions, outputs of a block]`, the last block filled up with zeros.
    fn write_turned(&self, images: [&[f32]; 2], to: &mut [F::Number]) {
        let plane = self.shape.output_height() * self.shape.output_width();
        let nothing = Scratch::zeros(plane);
        let mut rows = Scratch::new(OUTPUTS * plane);
        for (block, target) in to.chunks_exact_mut(OUTPUTS * plane).enumerate() {
            for (at, row) in rows.chunks_exact_mut(plane).enumerate() {
                let [first, second] = planes(images, block * OUTPUTS + at, 1, plane)
                    .map(|plane| if plane.is_empty() { &nothing } else { plane });
                self.format.join(first, second, cast_slice_mut(row));
            }
            let target = (cast_slice_mut(target), OUTPUTS);
            transpose((&rows, plane), target, [OUTPUTS, plane]);
        }
    }

    /// As `[outputs, positions]`, rows at the pitch of the input; what is between them, and what fills
    /// up blocks and positions, is zero.
    fn write_flat(&self, images: [&[f32]; 2], to: &mut [F::Number]) {
        let [rows, columns] = [self.shape.output_height(), self.shape.output_width()];
        let flat = self.of_block / block_outputs::<F>();
        let pitch = self.turned.pitch;
        let nothing = Scratch::zeros(rows * columns);
        let copied = Rows { rows, length: columns, from: columns, to: pitch };
        for (output, to) in to.chunks_exact_mut(flat).enumerate() {
            let planes = planes(images, output, 1, rows * columns);
            let planes = planes.map(|plane| if plane.is_empty() { &nothing } else { plane });
            self.format.join_rows(planes, to, copied);
            for row in 1..rows {
                to[(row - 1) * pitch + columns..row * pitch].fill(F::Number::default());
            }
            to[(rows - 1) * pitch + columns..].fill(F::Number::default());
        }
    }

    /// Writes the gradient `[outputs, inputs, kernel, kernel]`, given what was stored of all images.
    pub fn multiply(&self, grads: &[F::Number], weight_grad: &mut [f32]) {
        let Self { format, shape, ref turned, of_block } = *self;
        let sources: &[F::Number] = cast_slice(&turned.images);
        let size = [shape.output_height(), shape.output_width()];
        let (outputs, blocks) = (block_outputs::<F>(), self.blocks());
        let blocks_per_job = (blocks / 2).clamp(1, BLOCKS);
        let jobs: Vec<(usize, usize)> = (0..turned.starts.len())
            .step_by(COLUMNS)
            .flat_map(|column| {
                (0..blocks).step_by(blocks_per_job).map(move |block| (column, block))
            })
            .collect();
        let sums: Vec<_> = jobs
            .par_iter()
            .map(|&(column, block)| {
                let starts = &turned.starts[column..turned.starts.len().min(column + COLUMNS)];
                let blocks = block..blocks.min(block + blocks_per_job);
                let mut sums = vec![[0.0; LANES]; blocks.len() * starts.len() * outputs];
                let sources: &[[F::Number; LANES]] = sources.as_chunks().0;
                for (image, grads) in grads.chunks_exact(self.length()).enumerate() {
                    let source = &sources[image * turned.image..];
                    let grads = &grads[blocks.start * of_block..blocks.end * of_block];
                    let pitch = turned.pitch;
                    format.multiply(Gather { source, starts, pitch, grads, size, sums: &mut sums });
                }
                sums
            })
            .collect();
        let depth = shape.inputs * shape.taps();
        for (&(first_column, first_block), sums) in jobs.iter().zip(&sums) {
            let columns = COLUMNS.min(turned.starts.len() - first_column);
            for (at, sums) in sums.chunks_exact(outputs).enumerate() {
                let (block, column) = (first_block + at / columns, first_column + at % columns);
                for (output, sums) in (block * outputs..shape.outputs).zip(sums) {
                    for (lane, &sum) in sums.iter().enumerate() {
                        let weight = turned.weight(column, lane);
                        if weight < depth {
                            weight_grad[output * depth + weight] = sum;
                        }
                    }
                }
            }
        }
    }
}

/// Calls `write` with as many images as a number holds, an empty one where there are no more, and with
/// the `length` numbers to write of them. Behind them are `slack` zeros.
fn images_together<F: Format>(
    images: &[f32],
    image: usize,
    [length, slack]: [usize; 2],
    write: impl Fn([&[f32]; 2], &mut [F::Number]) + Sync,
) -> Scratch {
    let whole = (images.len() / image).div_ceil(F::HELD) * length;
    let mut together = Scratch::new(whole + slack);
    together[whole..].fill(0.0);
    let groups = together[..whole].par_chunks_mut(length).zip(images.par_chunks(F::HELD * image));
    groups.for_each(|(to, images)| write(images.split_at(image).into(), cast_slice_mut(to)));
    together
}

/// The input with [`LANES`] numbers at each place, each number belonging to another weight.
struct Turned {
    /// Words of as many images as a number holds, one after the other.
    images: Scratch,
    /// Places of one of them.
    image: usize,
    pitch: usize,
    /// Where each column of [`LANES`] weights begins to read.
    starts: Vec<usize>,
    /// Taps between the weights of neighbouring lanes.
    taps: usize,
}

impl Turned {
    /// A lane for each channel; every tap reads it somewhere else.
    fn channels<F: Format>(format: F, shape: &ConvShape, input: &[f32]) -> Self {
        let (padded, offsets) = layout(shape);
        let runs = padded.runs();
        let plane = shape.height * shape.width;
        let blocks = shape.inputs.div_ceil(LANES);
        let image = blocks * padded.len();
        let lengths = [image * LANES, slack::<F>()];
        let images = images_together::<F>(input, shape.image(), lengths, |images, to| {
            let to: &mut [[F::Number; LANES]] = to.as_chunks_mut().0;
            let (mut buffer, mut spare) = (padded.buffer(LANES), padded.spare());
            for (block, to) in to.chunks_mut(padded.len()).enumerate() {
                let planes = planes(images, block * LANES, LANES, plane);
                padded.fill_turned(format, &runs, (&mut buffer, &mut spare), planes, to);
            }
        });
        let starts = (0..blocks).flat_map(|block| {
            let first = block * padded.len();
            offsets.iter().map(move |offset| first + offset)
        });
        let starts = starts.collect();
        Self { images, image, pitch: padded.pitch, starts, taps: shape.taps() }
    }

    /// A lane for each weight of an output.
    fn patches<F: Format>(format: F, shape: &ConvShape, input: &[f32]) -> Self {
        let (padded, offsets) = layout(shape);
        let runs = padded.runs();
        let [rows, columns] = [shape.output_height(), shape.output_width()];
        let blocks = (shape.inputs * shape.taps()).div_ceil(LANES);
        let image = blocks * rows * columns;
        let lengths = [image * LANES, slack::<F>()];
        let images = images_together::<F>(input, shape.image(), lengths, |images, to| {
            let mut buffer = padded.buffer(shape.inputs);
            let buffer: &mut [F::Number] = cast_slice_mut(&mut buffer);
            let mut spare = padded.spare();
            // Empty lanes.
            to.fill(F::Number::default());
            let to: &mut [[F::Number; LANES]] = to.as_chunks_mut().0;
            for (channel, to) in buffer.chunks_exact_mut(padded.len()).enumerate() {
                let planes = planes(images, channel, 1, shape.height * shape.width);
                padded.fill(format, &runs, to, planes, &mut spare);
            }
            for weight in 0..shape.inputs * shape.taps() {
                let (channel, tap) = (weight / shape.taps(), weight % shape.taps());
                let source = &buffer[channel * padded.len() + offsets[tap]..];
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

    /// Which weight of an output a lane of a column is; beyond the last one for empty lanes.
    fn weight(&self, column: usize, lane: usize) -> usize {
        (column / self.taps * LANES + lane) * self.taps + column % self.taps
    }
}

/// What tiles may read behind the last image: they take positions in stretches.
fn slack<F: Format>() -> usize {
    if F::TILED { SIDE * LANES } else { 0 }
}
