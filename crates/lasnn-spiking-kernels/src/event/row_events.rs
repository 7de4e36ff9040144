//! The events of a linear layer: the rows of its matrix that the spikes name.

use std::ops::Range;

use rayon::prelude::*;

use crate::event::list::Events;

/// For each frame (one image at one time step), the rows of the matrix that its spikes name, in
/// order. The frames of an image follow each other.
#[derive(Clone, Debug)]
pub(crate) struct RowEvents {
    rows: Vec<u32>,
    /// By frame: the index of its first row. The last entry is the number of rows.
    starts: Vec<usize>,
}

impl RowEvents {
    /// The rows that the events of feature maps name. The inputs of a matrix are in the order
    /// channel, position.
    pub fn of(images: &[Events], channels: usize, positions: usize, steps: usize) -> Self {
        let mut events = Self { rows: Vec::new(), starts: vec![0] };
        let by_image: Vec<Vec<Vec<u32>>> = images
            .par_iter()
            .map(|image| match positions {
                1 => (0..steps).map(|step| image.at(step, 0).collect()).collect(),
                _ => by_step(image, channels, positions, steps),
            })
            .collect();
        for rows in by_image.into_iter().flatten() {
            events.rows.extend_from_slice(&rows);
            events.starts.push(events.rows.len());
        }
        events
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of one frame.
    pub fn at(&self, frame: usize) -> &[u32] {
        &self.rows[self.starts[frame]..self.starts[frame + 1]]
    }

    /// The same events, by block of `size` of the `rows` rows of the matrix.
    pub fn blocks(&self, rows: usize, size: usize) -> Vec<BlockEvents> {
        let mut done = vec![0; self.frames()];
        let block = |start: usize| {
            let end = rows.min(start + size);
            let mut block = BlockEvents { rows: start..end, events: Vec::new(), ends: Vec::new() };
            for (frame, done) in done.iter_mut().enumerate() {
                let left = &self.at(frame)[*done..];
                let here = left.partition_point(|&event| (event as usize) < end);
                block.events.extend(left[..here].iter().map(|&event| event - start as u32));
                block.ends.push(block.events.len());
                *done += here;
            }
            block
        };
        (0..rows).step_by(size).map(block).collect()
    }

    /// The same events, by row: the frames that name each of `rows` rows, and the index of the
    /// first frame of each row.
    pub fn by_row(&self, rows: usize) -> (Vec<u32>, Vec<usize>) {
        let mut starts = vec![0; rows + 1];
        for &row in &self.rows {
            starts[row as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut frames = vec![0; self.rows.len()];
        for frame in 0..self.frames() {
            for &row in self.at(frame) {
                frames[next[row as usize]] = frame as u32;
                next[row as usize] += 1;
            }
        }
        (frames, starts)
    }
}

/// The events that name rows of one block of a matrix, frame after frame.
#[derive(Clone, Debug)]
pub(crate) struct BlockEvents {
    /// The rows of the block.
    pub rows: Range<usize>,
    /// Rows, counted from the first row of the block.
    pub events: Vec<u32>,
    /// By frame: the index after its last event.
    pub ends: Vec<usize>,
}

/// The rows of one image in the order channel, position, by time step.
fn by_step(image: &Events, channels: usize, positions: usize, steps: usize) -> Vec<Vec<u32>> {
    let by_channel = image.by_channel();
    let mut rows = vec![Vec::new(); steps];
    for channel in 0..channels {
        for &place in by_channel.places(channel) {
            let (step, position) = (place as usize / positions, place as usize % positions);
            rows[step].push((channel * positions + position) as u32);
        }
    }
    rows
}
