//! The gradient of a convolution with respect to its input.

use pulp::bytemuck::cast_slice;

use super::forward::{Maps, Sums, add_to, channels_together, finish, pack};
use super::padded::{Padded, Run};
use super::shape::ConvShape;
use super::tile::{Correlate, block_outputs};
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::Format;

const LANES: usize = 16;

/// The positions of the input that share a phase, and the taps that read them.
struct Lattice {
    first: [usize; 2],
    size: [usize; 2],
    offsets: Vec<usize>,
    weights: Scratch,
}

/// The gradient with respect to the input of a convolution, image by image.
///
/// It is itself a convolution of the output's gradient: at stride 1 with the kernel turned around,
/// else with another part of the kernel for each phase of the input positions.
pub(super) struct InputGrad<F> {
    format: F,
    shape: ConvShape,
    padded: Padded,
    runs: Vec<Run>,
    lattices: Vec<Lattice>,
    /// Whether there are positions that no tap reads.
    unread: bool,
    flat: usize,
    /// Whether it is added to what is there.
    adds: bool,
}

impl<F: Format> InputGrad<F> {
    /// Packs the weights.
    pub fn new(format: F, shape: ConvShape, weights: &[f32], adds: bool) -> Self {
        let stride = shape.stride;
        let [low, high] = shape.shifts();
        let source = [shape.output_height(), shape.output_width()];
        let positions = [shape.height.div_ceil(stride), shape.width.div_ceil(stride)];
        let padded = Padded::new(source, 1, vec![[0, 0]], [-high, -low], positions);
        let runs = padded.runs();
        let lattices = (0..stride * stride)
            .map(|phase| {
                lattice(format, &shape, &padded, weights, [phase / stride, phase % stride])
            })
            .filter(|lattice| lattice.size[0] * lattice.size[1] > 0);
        let (lattices, others): (Vec<_>, Vec<_>) =
            lattices.partition(|lattice| !lattice.offsets.is_empty());
        let unread = !others.is_empty();
        let flat = ((positions[0] - 1) * padded.pitch + positions[1]).next_multiple_of(LANES);
        Self { format, shape, padded, runs, lattices, unread, flat, adds }
    }

    /// The memory of a job.
    pub fn work(&self) -> Work<'_, F> {
        let Self { format, ref shape, ref padded, ref runs, flat, .. } = *self;
        let maps = Maps::new(format, padded, runs, shape.outputs);
        let sums = Scratch::new(shape.inputs.next_multiple_of(block_outputs(format)) * flat);
        Work { to: self, maps, sums }
    }
}

/// A job that goes through some images.
pub(super) struct Work<'a, F> {
    to: &'a InputGrad<F>,
    maps: Maps<'a, F>,
    sums: Scratch,
}

impl<F: Format> Work<'_, F> {
    /// Writes the gradient `[inputs, height, width]` of an image, or adds it to what is there, given that
    /// of its output.
    pub fn write(&mut self, output_grad: &[f32], image: &mut [f32]) {
        let Self { to, maps, sums } = self;
        let InputGrad { format, shape, padded, lattices, unread, flat, adds, .. } = to;
        let source = maps.fill(output_grad);
        if *unread && !*adds {
            image.fill(0.0);
        }
        for lattice in lattices {
            format.multiply(Correlate {
                source,
                channel_len: padded.len(),
                offsets: &lattice.offsets,
                weights: cast_slice(&lattice.weights),
                channels: channels_together::<F>(shape.outputs),
                positions: *flat,
                out: &mut *sums,
            });
            let planes = image.chunks_exact_mut(shape.height * shape.width);
            for (plane, sums) in planes.zip(sums.chunks_exact(*flat)) {
                let sums = Sums { sums, pitch: padded.pitch, columns: lattice.size[1] };
                lattice.scatter(shape, plane, sums, *adds);
            }
        }
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
    /// Writes the sums to their places in a plane of the input, or adds them to what is there.
    fn scatter(&self, shape: &ConvShape, plane: &mut [f32], sums: Sums<'_>, adds: bool) {
        match (shape.stride, adds) {
            (1, false) => return finish(plane, sums, 0.0, false),
            (1, true) => return add_to(plane, sums),
            _ => {}
        }
        let from = self.first[0] * shape.width + self.first[1];
        scatter(&mut plane[from..], [shape.stride * shape.width, shape.stride], sums, adds);
    }
}

vectorised! {
    /// Writes sums to every so many rows and columns, or adds them to what is there.
    fn scatter<'a>(plane: &'a mut [f32], apart: [usize; 2], sums: Sums<'a>, adds: bool) -> () {
        let ([row, column], Sums { sums, pitch, columns }) = (apart, sums);
        for (row, sums) in plane.chunks_mut(row).zip(sums.chunks(pitch)) {
            let mut sums = &sums[..columns];
            let mut rest = row;
            if column == 2 {
                // Whole pairs are what the compiler makes vectors of; the last number may have no partner.
                let (pairs, last) = rest.as_chunks_mut::<2>();
                for (pair, &sum) in pairs.iter_mut().zip(sums) {
                    *pair = [if adds { pair[0] + sum } else { sum }, pair[1]];
                }
                sums = sums.get(pairs.len()..).unwrap_or_default();
                rest = last;
            }
            for (value, &sum) in rest.iter_mut().step_by(column).zip(sums) {
                *value = if adds { *value + sum } else { sum };
            }
        }
    }
}
