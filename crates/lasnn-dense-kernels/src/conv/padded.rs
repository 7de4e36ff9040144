//! The layout of feature maps in which every tap of a kernel is a constant offset.
//!
//! A plane is stored row by row with zeros around it. If the positions of an output plane are
//! numbered with the same pitch, each tap reads the plane at a constant distance from the number of
//! the position. Vectors run across the ends of rows, and the sums that they compute there are
//! dropped. This wastes one position in 17 or 33, and avoids shorter vectors at the end of each
//! row. If a row has only padding to its left and right, the zeros after a row are also the zeros
//! before the next one.
//!
//! With a stride of `s`, the input is first split into `s · s` phases: phase `[y, x]` contains the
//! rows `y + s · i` and the columns `x + s · j`. In a phase, positions that a tap reads for
//! neighbouring output positions are neighbours again.

use pulp::bytemuck::cast_slice_mut;

use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, RowCopy};
use lasnn_gemm::transpose::transpose;

/// Numbers that vectors may read after the last plane. Their values do not matter.
const SLACK: usize = 64;

/// The layout of one channel.
#[derive(Clone, Debug)]
pub(super) struct Padded {
    /// Rows and columns of a source plane.
    source: [usize; 2],
    stride: usize,
    phases: Vec<[usize; 2]>,
    /// The smallest shift of a tap.
    low: isize,
    /// Rows of a phase.
    rows: usize,
    /// Zeros before the first row.
    lead: usize,
    /// The distance between the starts of two rows.
    pub pitch: usize,
    phase_len: usize,
}

/// Where the rows of one phase are in a source plane whose columns are split by phase, and where
/// they are in a padded channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseRows {
    from: usize,
    to: usize,
    rows: RowCopy,
}

impl Padded {
    /// The layout for planes of `source` rows and columns.
    ///
    /// Output planes of `positions` rows and columns read them at shifts `low..=high` in the given
    /// phases.
    pub fn new(
        source: [usize; 2],
        stride: usize,
        phases: Vec<[usize; 2]>,
        [low, high]: [isize; 2],
        positions: [usize; 2],
    ) -> Self {
        let lead = low.unsigned_abs();
        let span = (high - low) as usize;
        let only_padding = stride == 1 && positions[1] == source[1] && -low == high;
        let pitch = positions[1] + if only_padding { lead } else { span };
        let rows = positions[0] + span;
        Self { source, stride, phases, low, rows, lead, pitch, phase_len: lead + rows * pitch }
    }

    /// The number of elements of a source plane.
    pub fn source_len(&self) -> usize {
        self.source[0] * self.source[1]
    }

    /// The number of elements of one padded channel.
    pub fn len(&self) -> usize {
        self.phases.len() * self.phase_len
    }

    /// Memory for `channels` padded channels, all zero.
    pub fn zeros(&self, channels: usize) -> Scratch {
        Scratch::zeros(channels * self.len() + SLACK)
    }

    /// Memory in which [`fill`](Self::fill) splits planes by phase.
    pub fn buffer(&self) -> Scratch {
        Scratch::new(2 * self.split_len())
    }

    /// The index at which output position 0 reads the given phase at the given shift.
    pub fn offset(&self, phase: [usize; 2], [down, right]: [isize; 2]) -> usize {
        let phase = self.phases.iter().position(|&other| other == phase).unwrap_or_default();
        let row = (down - self.low) as usize;
        phase * self.phase_len + row * self.pitch + (right - self.low) as usize
    }

    /// The rows of each phase. All other elements of a padded channel are padding.
    pub fn rows_by_phase(&self) -> Vec<PhaseRows> {
        let [height, width] = self.source.map(|size| size as isize);
        let (stride, columns) = (self.stride as isize, self.columns());
        let rows_of = |(number, &[down, right]): (usize, &[usize; 2])| {
            // The source has the columns `stride · i + right` for `i < until`. A row may have room
            // for fewer of them.
            let until = (width - right as isize + stride - 1).div_euclid(stride);
            let length = until.min(self.pitch as isize + self.low).max(0) as usize;
            let y = |row: usize| stride * (row as isize + self.low) + down as isize;
            let mut rows = (0..self.rows).filter(|&row| (0..height).contains(&y(row)));
            let first = rows.next().filter(|_| length > 0)?;
            Some(PhaseRows {
                from: (right * self.source[0] + y(first) as usize) * columns,
                to: number * self.phase_len + self.lead + first * self.pitch,
                rows: RowCopy {
                    rows: 1 + rows.count(),
                    length,
                    from_pitch: self.stride * columns,
                    to_pitch: self.pitch,
                },
            })
        };
        self.phases.iter().enumerate().filter_map(rows_of).collect()
    }

    /// The number of columns of a phase.
    fn columns(&self) -> usize {
        self.source[1].div_ceil(self.stride)
    }

    /// The number of elements of a plane whose columns are split by phase.
    fn split_len(&self) -> usize {
        self.stride * self.source[0] * self.columns()
    }

    /// Packs planes, as many as an element contains numbers, into one padded channel.
    ///
    /// An empty slice stands for a plane of zeros. Padding is not written. `buffer` is the memory
    /// of [`buffer`](Self::buffer).
    pub fn fill<F: Format>(
        &self,
        format: F,
        rows_by_phase: &[PhaseRows],
        channel: &mut [F::Element],
        [first, second]: [&[f32]; 2],
        buffer: &mut [f32],
    ) {
        let (buffer, other) = buffer.split_at_mut(self.split_len());
        let first = self.split_columns(first, buffer);
        let second = if F::PACKED == 1 { &[] } else { self.split_columns(second, other) };
        for &PhaseRows { from, to, rows } in rows_by_phase {
            let second = second.get(from..).unwrap_or_default();
            format.interleave_rows([&first[from..], second], &mut channel[to..], rows);
        }
    }

    /// The columns of a plane, split by phase: first all rows with the columns of phase 0, then all
    /// rows with the columns of phase 1, and so on.
    fn split_columns<'a>(&self, plane: &'a [f32], buffer: &'a mut [f32]) -> &'a [f32] {
        if plane.is_empty() {
            buffer.fill(0.0);
            return buffer;
        }
        if self.stride == 1 {
            return plane;
        }
        let ([height, width], columns) = (self.source, self.columns());
        // If all phases have as many columns, the plane can be split as one long row.
        let together = if width.is_multiple_of(self.stride) { height } else { 1 };
        for (right, to) in buffer.chunks_exact_mut(height * columns).enumerate() {
            let rows = plane.chunks_exact(together * width);
            for (row, to) in rows.zip(to.chunks_exact_mut(together * columns)) {
                copy_every(row.get(right..).unwrap_or_default(), self.stride, to);
            }
        }
        buffer
    }

    /// Packs up to `LANES` consecutive planes of each image, with the planes as the last axis.
    ///
    /// There are as many images as an element contains numbers. `target[i]` contains element `i` of
    /// all padded planes; padding and missing planes are zero. `channels` is memory for `LANES`
    /// padded channels, and `buffer` is the memory of [`buffer`](Self::buffer).
    pub fn fill_transposed<F: Format, const LANES: usize>(
        &self,
        format: F,
        rows_by_phase: &[PhaseRows],
        (channels, buffer): (&mut [f32], &mut [f32]),
        images: [&[f32]; 2],
        target: &mut [[F::Element; LANES]],
    ) {
        let size = self.source_len();
        let elements: &mut [F::Element] = cast_slice_mut(channels);
        for (lane, channel) in elements.chunks_exact_mut(self.len()).take(LANES).enumerate() {
            self.fill(format, rows_by_phase, channel, planes(images, lane, 1, size), buffer);
        }
        let target = cast_slice_mut(target.as_flattened_mut());
        transpose((channels, self.len()), (target, LANES), [LANES, self.len()]);
    }
}

vectorised! {
    /// Copies every number whose index is a multiple of `stride`.
    fn copy_every<'a>(from: &'a [f32], stride: usize, to: &'a mut [f32]) -> () {
        let (mut from, mut to) = (from, to);
        if stride == 2 {
            // The compiler vectorises a loop over whole pairs. The last number may be left over.
            let (pairs, last) = from.as_chunks::<2>();
            for (to, pair) in to.iter_mut().zip(pairs) {
                *to = pair[0];
            }
            from = last;
            to = to.get_mut(pairs.len()..).unwrap_or_default();
        }
        for (to, &number) in to.iter_mut().zip(from.iter().step_by(stride)) {
            *to = number;
        }
    }
}

/// Up to `count` planes of `size` elements from each image, beginning with plane `first`.
pub(super) fn planes(images: [&[f32]; 2], first: usize, count: usize, size: usize) -> [&[f32]; 2] {
    let (start, end) = (first * size, (first + count) * size);
    images.map(|image| &image[start.min(image.len())..end.min(image.len())])
}
