//! The gradient of a convolution with respect to its input.

use pulp::bytemuck::cast_slice;
use rayon::prelude::*;

use super::forward::{Maps, channels_together, images_per_job, pack};
use super::padded::Padded;
use super::shape::ConvShape;
use super::tile::{Correlate, block_outputs};
use crate::memory::Scratch;
use crate::product::{Format, Job, Precision};

const LANES: usize = 16;

/// The positions of the input that share a phase, and the taps that read them.
struct Lattice {
    first: [usize; 2],
    size: [usize; 2],
    offsets: Vec<usize>,
    weights: Scratch,
}

/// Writes the gradient `[batch, inputs, height, width]` with respect to the input of
/// [`forward`](super::forward), given that with respect to its output.
///
/// It is itself a convolution of the output's gradient: at stride 1 with the kernel turned around,
/// else with another part of the kernel for each phase of the input positions.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn input_grad(
    shape: ConvShape,
    precision: Precision,
    output_grad: &[f32],
    weights: &[f32],
    input_grad: &mut [f32],
) {
    shape.check(input_grad.len(), weights.len(), output_grad.len());
    precision.run(InputGrad { shape, output_grad, weights, input_grad });
}

struct InputGrad<'a> {
    shape: ConvShape,
    output_grad: &'a [f32],
    weights: &'a [f32],
    input_grad: &'a mut [f32],
}

impl Job for InputGrad<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { shape, output_grad, weights, input_grad } = self;
        let stride = shape.stride;
        let [low, high] = shape.shifts();
        let source = [shape.output_height(), shape.output_width()];
        let positions = [shape.height.div_ceil(stride), shape.width.div_ceil(stride)];
        let padded = Padded::new(source, 1, vec![[0, 0]], [-high, -low], positions);
        let runs = padded.runs();
        let lattices: Vec<_> = (0..stride * stride)
            .map(|phase| {
                lattice(format, &shape, &padded, weights, [phase / stride, phase % stride])
            })
            .filter(|lattice| lattice.size[0] * lattice.size[1] > 0)
            .collect();

        let flat = ((positions[0] - 1) * padded.pitch + positions[1]).next_multiple_of(LANES);
        let per_job = images_per_job(shape.batch);
        let jobs = output_grad
            .par_chunks(per_job * shape.output_image())
            .zip(input_grad.par_chunks_mut(per_job * shape.image()));
        jobs.for_each(|(grads, images)| {
            let mut maps = Maps::new(format, &padded, &runs, shape.outputs);
            let mut sums =
                Scratch::new(shape.inputs.next_multiple_of(block_outputs(format)) * flat);
            let grads = grads.chunks_exact(shape.output_image());
            for (grads, image) in grads.zip(images.chunks_exact_mut(shape.image())) {
                let source = maps.fill(grads);
                for lattice in &lattices {
                    if lattice.offsets.is_empty() {
                        sums.fill(0.0);
                    } else {
                        format.multiply(Correlate {
                            source,
                            channel_len: padded.len(),
                            offsets: &lattice.offsets,
                            weights: cast_slice(&lattice.weights),
                            channels: channels_together::<F>(shape.outputs),
                            positions: flat,
                            out: &mut sums,
                        });
                    }
                    let planes = image.chunks_exact_mut(shape.height * shape.width);
                    for (plane, sums) in planes.zip(sums.chunks_exact(flat)) {
                        lattice.scatter(stride, plane, shape.width, sums, padded.pitch);
                    }
                }
            }
        });
    }
}

fn lattice<F: Format>(
    format: F,
    shape: &ConvShape,
    padded: &Padded,
    weights: &[f32],
    first: [usize; 2],
) -> Lattice {
    let taps_of = |phase: usize| -> Vec<(usize, isize)> {
        let taps = (0..shape.kernel).map(|tap| (tap, shape.reach(tap)));
        taps.filter(|(_, reach)| reach.phase == phase).map(|(t, reach)| (t, reach.shift)).collect()
    };
    let mut taps = Vec::new();
    let mut offsets = Vec::new();
    for (row, down) in taps_of(first[0]) {
        for (column, right) in taps_of(first[1]) {
            taps.push(row * shape.kernel + column);
            offsets.push(padded.offset([0, 0], [-down, -right]));
        }
    }
    let weights = pack(format, shape.inputs, [shape.outputs, taps.len()], |input, output, tap| {
        weights[(output * shape.inputs + input) * shape.taps() + taps[tap]]
    });
    let size = [shape.height, shape.width];
    let size = [0, 1].map(|axis| (size[axis].saturating_sub(first[axis])).div_ceil(shape.stride));
    Lattice { first, size, offsets, weights }
}

impl Lattice {
    /// Writes the sums, rows of `pitch`, to their places in a plane of the input.
    fn scatter(&self, stride: usize, plane: &mut [f32], width: usize, sums: &[f32], pitch: usize) {
        for (row, sums) in sums.chunks(pitch).take(self.size[0]).enumerate() {
            let start = (stride * row + self.first[0]) * width + self.first[1];
            let sums = &sums[..self.size[1]];
            if stride == 1 {
                plane[start..][..sums.len()].copy_from_slice(sums);
            } else {
                for (value, &sum) in plane[start..].iter_mut().step_by(stride).zip(sums) {
                    *value = sum;
                }
            }
        }
    }
}
