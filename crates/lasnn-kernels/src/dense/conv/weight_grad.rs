//! The gradient of a convolution with respect to its weights.
//!
//! Here the sum runs over positions, so the vectors run over input channels: input and output
//! gradient are turned around, and each position multiplies the channels that a tap finds there
//! with the gradients of a block of outputs.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::forward::layout;
use super::gather::{Gather, LANES, OUTPUTS, block_outputs, flat_positions};
use super::padded::Turn;
use super::shape::ConvShape;
use crate::memory::Scratch;
use crate::product::{Format, Job, Precision, SIDE};

/// Columns and blocks of outputs of a job. Jobs share no sum, so threads change no bit.
const COLUMNS: usize = 9;
const BLOCKS: usize = 4;

/// With fewer inputs than this, a vector of them would be mostly empty.
const FEW_INPUTS: usize = 8;

/// Writes the gradient `[outputs, inputs, kernel, kernel]` with respect to the weights of
/// [`forward`](super::forward), given that with respect to its output.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn weight_grad(
    shape: ConvShape,
    precision: Precision,
    input: &[f32],
    output_grad: &[f32],
    weight_grad: &mut [f32],
) {
    shape.check(input.len(), weight_grad.len(), output_grad.len());
    precision.run(WeightGrad { shape, input, output_grad, weight_grad });
}

struct WeightGrad<'a> {
    shape: ConvShape,
    input: &'a [f32],
    output_grad: &'a [f32],
    weight_grad: &'a mut [f32],
}

impl Job for WeightGrad<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { shape, input, output_grad, weight_grad } = self;
        let turned = match shape.inputs < FEW_INPUTS {
            true => Turned::patches(format, &shape, input),
            false => Turned::channels(format, &shape, input),
        };
        let grads = match F::TILED {
            true => flat_grads(format, &shape, output_grad, turned.pitch),
            false => turn_grads(format, &shape, output_grad),
        };
        let sources: &[F::Number] = cast_slice(&turned.images);
        let grads: &[F::Number] = cast_slice(&grads);
        let size = [shape.output_height(), shape.output_width()];
        let outputs = block_outputs::<F>();
        let blocks = shape.outputs.div_ceil(outputs);
        let of_block = match F::TILED {
            true => outputs * flat_positions(size, turned.pitch),
            false => outputs * size[0] * size[1],
        };
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
                let of_image = blocks * of_block;
                let blocks = block..blocks.min(block + blocks_per_job);
                let mut sums = vec![[0.0; LANES]; blocks.len() * starts.len() * outputs];
                let sources: &[[F::Number; LANES]] = sources.as_chunks().0;
                for (image, grads) in grads.chunks_exact(of_image).enumerate() {
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
            for (block, to) in to.chunks_mut(padded.len()).enumerate() {
                padded.fill_turned(format, &runs, to, planes(images, block * LANES, LANES, plane));
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

/// Up to `count` planes of each image from the `first` on.
fn planes<'a>(images: [&'a [f32]; 2], first: usize, count: usize, plane: usize) -> [&'a [f32]; 2] {
    let (start, end) = (first * plane, (first + count) * plane);
    images.map(|image| &image[start.min(image.len())..end.min(image.len())])
}

/// The output's gradient as `[images, blocks, positions, outputs of a block]`, the last block filled
/// up with zeros.
fn turn_grads<F: Format>(format: F, shape: &ConvShape, output_grad: &[f32]) -> Scratch {
    let positions = shape.output_height() * shape.output_width();
    let length = shape.outputs.div_ceil(OUTPUTS) * positions * OUTPUTS;
    images_together::<F>(output_grad, shape.output_image(), [length, 0], |images, turned| {
        let turned: &mut [[F::Number; OUTPUTS]] = turned.as_chunks_mut().0;
        for (block, target) in turned.chunks_exact_mut(positions).enumerate() {
            let planes = planes(images, block * OUTPUTS, OUTPUTS, positions);
            Turn { plane: positions, from: 0, stride: 1 }.together(format, planes, target);
        }
    })
}

/// The output's gradient as `[images, outputs, positions]`, rows at the pitch of the input; what is
/// between them, and what fills up blocks and positions, is zero.
fn flat_grads<F: Format>(
    format: F,
    shape: &ConvShape,
    output_grad: &[f32],
    pitch: usize,
) -> Scratch {
    let [rows, columns] = [shape.output_height(), shape.output_width()];
    let flat = flat_positions([rows, columns], pitch);
    let length = shape.outputs.next_multiple_of(block_outputs::<F>()) * flat;
    let nothing = vec![0.0; rows * columns];
    images_together::<F>(output_grad, shape.output_image(), [length, 0], |images, to| {
        for (output, to) in to.chunks_exact_mut(flat).enumerate() {
            let planes = planes(images, output, 1, rows * columns);
            let [first, second] =
                planes.map(|plane| if plane.is_empty() { &nothing } else { plane });
            let sources = first.chunks_exact(columns).zip(second.chunks_exact(columns));
            let (whole, rest) = to.split_at_mut(flat.min(rows * pitch));
            for (to, (first, second)) in whole.chunks_mut(pitch).zip(sources) {
                let (row, gap) = to.split_at_mut(columns);
                format.join(first, second, row);
                gap.fill(F::Number::default());
            }
            rest.fill(F::Number::default());
        }
    })
}
