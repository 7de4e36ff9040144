//! Feature maps laid out so that every tap of a kernel is one number to add to an index.
//!
//! A plane is stored row after row with zeros around it, so the positions of an output plane, taken
//! one row after the other at the same pitch, read any tap at a constant distance. Vectors run over
//! row ends: what they compute there is thrown away, which costs one position in 17 or 33 and saves
//! the shorter vectors at the end of each row. Where nothing but padding is left and right of a row,
//! the zeros behind it are those before the next one.
//!
//! With a stride of `s`, the input is first dealt out into `s · s` planes (phases), in which
//! neighbours are neighbours again.

use pulp::bytemuck::cast_slice_mut;

use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, Rows};
use lasnn_gemm::transpose::transpose;

/// The zeros, or other values, that vectors may read behind the last plane.
const SLACK: usize = 64;

/// The layout of one channel.
#[derive(Clone, Debug)]
pub(super) struct Padded {
    source: [usize; 2],
    stride: usize,
    phases: Vec<[usize; 2]>,
    low: isize,
    rows: usize,
    lead: usize,
    /// From one row to the next.
    pub pitch: usize,
    phase_len: usize,
}

/// The rows of a phase, whose columns are side by side in a [dealt](Padded::dealt) plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    from: usize,
    to: usize,
    rows: Rows,
}

impl Padded {
    /// For planes `source` (rows, columns), read by output planes of `positions` (rows, columns) at
    /// shifts `low..=high` in the given phases.
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

    /// Elements of a source plane.
    pub fn source_len(&self) -> usize {
        self.source[0] * self.source[1]
    }

    /// Places of one channel.
    pub fn len(&self) -> usize {
        self.phases.len() * self.phase_len
    }

    /// A buffer of zeros for so many channels.
    pub fn buffer(&self, channels: usize) -> Scratch {
        Scratch::zeros(channels * self.len() + SLACK)
    }

    /// Where an output position at index 0 reads the given phase at the given shift.
    pub fn offset(&self, phase: [usize; 2], [down, right]: [isize; 2]) -> usize {
        let phase = self.phases.iter().position(|&other| other == phase).unwrap_or_default();
        let row = (down - self.low) as usize;
        phase * self.phase_len + row * self.pitch + (right - self.low) as usize
    }

    /// Which elements of a plane go where; all other places are padding.
    pub fn runs(&self) -> Vec<Run> {
        let [height, width] = self.source.map(|size| size as isize);
        let (stride, columns) = (self.stride as isize, self.columns());
        let run = |(number, &[down, right]): (usize, &[usize; 2])| {
            // The columns `stride · i + right` that the source has and the row has room for.
            let until = (width - right as isize + stride - 1).div_euclid(stride);
            let length = until.min(self.pitch as isize + self.low).max(0) as usize;
            let y = |row: usize| stride * (row as isize + self.low) + down as isize;
            let mut rows = (0..self.rows).filter(|&row| (0..height).contains(&y(row)));
            let first = rows.next().filter(|_| length > 0)?;
            Some(Run {
                from: (right * self.source[0] + y(first) as usize) * columns,
                to: number * self.phase_len + self.lead + first * self.pitch,
                rows: Rows {
                    rows: 1 + rows.count(),
                    length,
                    from: self.stride * columns,
                    to: self.pitch,
                },
            })
        };
        self.phases.iter().enumerate().filter_map(run).collect()
    }

    /// Columns of a phase.
    fn columns(&self) -> usize {
        self.source[1].div_ceil(self.stride)
    }

    /// Elements of a dealt plane.
    fn dealt_len(&self) -> usize {
        self.stride * self.source[0] * self.columns()
    }

    /// Memory for [`fill`](Self::fill).
    pub fn spare(&self) -> Scratch {
        Scratch::new(2 * self.dealt_len())
    }

    /// Writes planes, as many as a number holds, into one channel of a [`buffer`](Self::buffer). An empty
    /// plane is one of zeros. Padding is not touched.
    pub fn fill<F: Format>(
        &self,
        format: F,
        runs: &[Run],
        channel: &mut [F::Number],
        [first, second]: [&[f32]; 2],
        spare: &mut [f32],
    ) {
        let (spare, other) = spare.split_at_mut(self.dealt_len());
        let first = self.dealt(first, spare);
        let second = if F::HELD == 1 { &[] } else { self.dealt(second, other) };
        for &Run { from, to, rows } in runs {
            let second = second.get(from..).unwrap_or_default();
            format.join_rows([&first[from..], second], &mut channel[to..], rows);
        }
    }

    /// The columns of a plane by phase: its rows with the columns of the first one, then those with the
    /// columns of the second one, and so on.
    fn dealt<'a>(&self, plane: &'a [f32], spare: &'a mut [f32]) -> &'a [f32] {
        if plane.is_empty() {
            spare.fill(0.0);
            return spare;
        }
        if self.stride == 1 {
            return plane;
        }
        let ([height, width], columns) = (self.source, self.columns());
        // Where no column is missing, the end of a row is where the next one goes on.
        let together = if width.is_multiple_of(self.stride) { height } else { 1 };
        for (right, to) in spare.chunks_exact_mut(height * columns).enumerate() {
            let rows = plane.chunks_exact(together * width);
            for (row, to) in rows.zip(to.chunks_exact_mut(together * columns)) {
                every(row.get(right..).unwrap_or_default(), self.stride, to);
            }
        }
        spare
    }

    /// Writes up to `LANES` planes, one after the other, of each of as many images as a number holds, so
    /// that each place has one element of all of them; padding and empty lanes are zero. `buffer` is one of
    /// so many channels.
    pub fn fill_turned<F: Format, const LANES: usize>(
        &self,
        format: F,
        runs: &[Run],
        (buffer, spare): (&mut [f32], &mut [f32]),
        images: [&[f32]; 2],
        target: &mut [[F::Number; LANES]],
    ) {
        let size = self.source_len();
        let channels: &mut [F::Number] = cast_slice_mut(buffer);
        for (lane, channel) in channels.chunks_exact_mut(self.len()).take(LANES).enumerate() {
            self.fill(format, runs, channel, planes(images, lane, 1, size), spare);
        }
        let target = cast_slice_mut(target.as_flattened_mut());
        transpose((buffer, self.len()), (target, LANES), [LANES, self.len()]);
    }
}

vectorised! {
    /// Writes the first number of every `stride`.
    fn every<'a>(from: &'a [f32], stride: usize, to: &'a mut [f32]) -> () {
        let (mut from, mut to) = (from, to);
        if stride == 2 {
            // Whole pairs are what the compiler makes vectors of; the last number may have no partner.
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

/// Up to `count` planes of `size` elements of each image from the `first` on.
pub(super) fn planes(images: [&[f32]; 2], first: usize, count: usize, size: usize) -> [&[f32]; 2] {
    let (start, end) = (first * size, (first + count) * size);
    images.map(|image| &image[start.min(image.len())..end.min(image.len())])
}
