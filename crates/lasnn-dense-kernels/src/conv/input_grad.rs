//! The gradient of a convolution with respect to its input.

use pulp::bytemuck::cast_slice;

use super::pack::{PaddedImages, pack_weights, packed_channels};
use super::padded::{Padded, PhaseRows};
use super::shape::ConvShape;
use super::sums::{Sums, add_sums, write_sums};
use super::tile::{Correlate, block_outputs};
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::Format;

/// The number of positions is padded to a multiple of this, the lanes of the longest vectors.
const LANES: usize = 16;

/// The gradient with respect to the input, image by image.
///
/// It is a convolution of the output gradient. If the stride is 1, its kernel is the kernel rotated
/// by 180 degrees. Otherwise the input positions of each phase have a kernel of their own, which is
/// a part of the rotated kernel.
pub(super) struct InputGrad<F> {
    format: F,
    shape: ConvShape,
    padded: Padded,
    rows_by_phase: Vec<PhaseRows>,
    phases: Vec<Phase>,
    /// Whether there are positions of the input that no tap reads.
    has_unread: bool,
    /// The number of sums that the inner loop computes for each plane.
    flat: usize,
    /// Whether the gradient is added to an existing one.
    adds: bool,
}

/// The positions of the input that share a phase, and the taps that read them.
struct Phase {
    /// The first row and column of the input.
    first: [usize; 2],
    /// The numbers of rows and columns.
    size: [usize; 2],
    /// For each tap, the offset at which it reads the output gradient.
    offsets: Vec<usize>,
    weights: Scratch,
}

impl<F: Format> InputGrad<F> {
    /// Packs the weights.
    pub fn new(format: F, shape: ConvShape, weights: &[f32], adds: bool) -> Self {
        let stride = shape.stride;
        let [low, high] = shape.shifts();
        let source = [shape.output_height(), shape.output_width()];
        let positions = [shape.height.div_ceil(stride), shape.width.div_ceil(stride)];
        let padded = Padded::new(source, 1, vec![[0, 0]], [-high, -low], positions);
        let rows_by_phase = padded.rows_by_phase();
        let phases = (0..stride * stride)
            .map(|phase| {
                let first = [phase / stride, phase % stride];
                Phase::new(format, &shape, &padded, weights, first)
            })
            .filter(|phase| phase.size[0] * phase.size[1] > 0);
        let (phases, unread): (Vec<_>, Vec<_>) =
            phases.partition(|phase| !phase.offsets.is_empty());
        let has_unread = !unread.is_empty();
        let flat = ((positions[0] - 1) * padded.pitch + positions[1]).next_multiple_of(LANES);
        Self { format, shape, padded, rows_by_phase, phases, has_unread, flat, adds }
    }

    /// The memory with which one thread computes gradients.
    pub fn work(&self) -> Work<'_, F> {
        let Self { format, ref shape, ref padded, ref rows_by_phase, flat, .. } = *self;
        let output_grads = PaddedImages::new(format, padded, rows_by_phase, shape.outputs);
        let sums = Scratch::new(shape.inputs.next_multiple_of(block_outputs(format)) * flat);
        Work { of: self, output_grads, sums }
    }
}

/// An [`InputGrad`] and the memory of one thread.
pub(super) struct Work<'a, F> {
    of: &'a InputGrad<F>,
    output_grads: PaddedImages<'a, F>,
    sums: Scratch,
}

impl<F: Format> Work<'_, F> {
    /// Computes the gradient `[inputs, height, width]` of one image, given the gradient of its
    /// output.
    pub fn write(&mut self, output_grad: &[f32], image: &mut [f32]) {
        let Self { of, output_grads, sums } = self;
        let InputGrad { format, shape, padded, phases, has_unread, flat, adds, .. } = of;
        let source = output_grads.fill(output_grad);
        if *has_unread && !*adds {
            image.fill(0.0);
        }
        for phase in phases {
            format.multiply(Correlate {
                source,
                channel_len: padded.len(),
                offsets: &phase.offsets,
                weights: cast_slice(&phase.weights),
                channels: packed_channels::<F>(shape.outputs),
                positions: *flat,
                out: &mut *sums,
            });
            let planes = image.chunks_exact_mut(shape.height * shape.width);
            for (plane, sums) in planes.zip(sums.chunks_exact(*flat)) {
                let sums = Sums { sums, pitch: padded.pitch, columns: phase.size[1] };
                phase.scatter(shape, plane, sums, *adds);
            }
        }
    }
}

impl Phase {
    /// The phase of the input whose first row and column are `first`.
    fn new<F: Format>(
        format: F,
        shape: &ConvShape,
        padded: &Padded,
        weights: &[f32],
        first: [usize; 2],
    ) -> Self {
        let taps_of = |phase: usize| -> Vec<(usize, isize)> {
            let taps = (0..shape.kernel).map(|tap| (tap, shape.reach(tap)));
            let taps = taps.filter(|(_, reach)| reach.phase == phase);
            taps.map(|(tap, reach)| (tap, reach.shift)).collect()
        };
        let mut taps = Vec::new();
        let mut offsets = Vec::new();
        for (row, down) in taps_of(first[0]) {
            for (column, right) in taps_of(first[1]) {
                taps.push(row * shape.kernel + column);
                offsets.push(padded.offset([0, 0], [-down, -right]));
            }
        }
        let depth = [shape.outputs, taps.len()];
        let weights = pack_weights(format, shape.inputs, depth, |input, output, tap| {
            weights[(output * shape.inputs + input) * shape.taps() + taps[tap]]
        });
        let size = [shape.height, shape.width];
        let size =
            [0, 1].map(|axis| (size[axis].saturating_sub(first[axis])).div_ceil(shape.stride));
        Self { first, size, offsets, weights }
    }

    /// Writes the sums to the positions of this phase in a plane of the input, or adds them.
    fn scatter(&self, shape: &ConvShape, plane: &mut [f32], sums: Sums<'_>, adds: bool) {
        match (shape.stride, adds) {
            (1, false) => return write_sums(plane, sums, 0.0, false),
            (1, true) => return add_sums(plane, sums),
            _ => {}
        }
        let from = self.first[0] * shape.width + self.first[1];
        scatter(&mut plane[from..], [shape.stride * shape.width, shape.stride], sums, adds);
    }
}

vectorised! {
    /// Writes sums to positions `distance` apart, along rows and columns, or adds them.
    fn scatter<'a>(plane: &'a mut [f32], distance: [usize; 2], sums: Sums<'a>, adds: bool) -> () {
        let ([row, column], Sums { sums, pitch, columns }) = (distance, sums);
        for (row, sums) in plane.chunks_mut(row).zip(sums.chunks(pitch)) {
            let mut sums = &sums[..columns];
            let mut rest = row;
            if column == 2 {
                // The compiler vectorises a loop over whole pairs. The last number of a row may be
                // left over.
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
