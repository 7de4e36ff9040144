//! NeuronLayers downstream a matrix.
//!
//! A wide matrix does not fit into any cache. It is taken in blocks that do, and every block serves
//! all images and steps before the next one, so that the weights come from memory once.

use lasnn_gemm::product::with_format;
use std::ops::Range;
use std::sync::Arc;

use pulp::Simd;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};

use crate::bf16::{self, Frames, MatrixWeights};
use crate::event::int12 as fixed;
use crate::event::list::Events;
use crate::event::packed_bf16 as halves;
use crate::event::simd::LANES;
use crate::event::weights::{Rows, WeightFormat, Weights};
use crate::graph::PoolAndMask;

/// Neurons in a tile of a linear layer.
pub(crate) const TILE: usize = 64;

/// Tiles in a panel, the columns that one thread takes at once: wide enough that a row of the
/// matrix is read in long pieces, narrow enough that the currents of a panel stay in cache.
pub(crate) const PANEL: usize = 8;

/// Rows of a block, so that one of its tiles fits a core's first-level cache.
pub(crate) fn block(format: WeightFormat) -> usize {
    match format {
        WeightFormat::F32 => 128,
        WeightFormat::Int12 | WeightFormat::Bf16 => 256,
    }
}

/// How many rows ahead a matrix is needed for.
const AHEAD: usize = 8;

/// The rows of a matrix that the spikes of each image and step name, in order.
#[derive(Clone, Debug)]
pub(crate) struct RowEvents {
    rows: Vec<u32>,
    /// By image and step, steps faster.
    starts: Vec<usize>,
}

impl RowEvents {
    /// The rows for events of maps of `positions`; a matrix has its inputs in the order channels,
    /// positions.
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

    /// Nobody fires, in so many images times steps.
    pub fn none(count: usize) -> Self {
        Self { rows: Vec::new(), starts: vec![0; count + 1] }
    }

    /// Images times steps.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of one image and step.
    pub fn at(&self, index: usize) -> &[u32] {
        &self.rows[self.starts[index]..self.starts[index + 1]]
    }

    /// The same events by block of so many of all `rows`.
    pub fn blocks(&self, rows: usize, size: usize) -> Vec<BlockEvents> {
        let mut done = vec![0; self.len()];
        let block = |start: usize| {
            let end = rows.min(start + size);
            let mut block = BlockEvents { rows: start..end, events: Vec::new(), ends: Vec::new() };
            for (index, done) in done.iter_mut().enumerate() {
                let left = &self.at(index)[*done..];
                let here = left.partition_point(|&event| (event as usize) < end);
                block.events.extend(left[..here].iter().map(|&event| event - start as u32));
                block.ends.push(block.events.len());
                *done += here;
            }
            block
        };
        (0..rows).step_by(size).map(block).collect()
    }

    /// The same events by row: where each of `rows` was named, as image times steps plus step.
    pub fn by_row(&self, rows: usize) -> (Vec<u32>, Vec<usize>) {
        let mut starts = vec![0; rows + 1];
        for &row in &self.rows {
            starts[row as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut indices = vec![0; self.rows.len()];
        for index in 0..self.len() {
            for &row in self.at(index) {
                indices[next[row as usize]] = index as u32;
                next[row as usize] += 1;
            }
        }
        (indices, starts)
    }
}

/// The rows of one image in the order channels, positions, by step.
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

/// The events that name rows of one block, those of each image and step together.
#[derive(Clone, Debug)]
pub(crate) struct BlockEvents {
    rows: Range<usize>,
    /// Rows, counted from the block's first.
    events: Vec<u32>,
    /// Where the events of each image and step end.
    ends: Vec<usize>,
}

/// A matrix `[inputs, outputs]` with what it sees.
pub(crate) struct Matrix<'a> {
    pub weights: &'a [f32],
    /// The same, in the order that [`pack_all`] makes.
    pub packed: Option<&'a Weights>,
    pub outputs: usize,
    pub events: RowEvents,
    pub blocks: Vec<BlockEvents>,
    /// The events as numbers, for products in tiles; there are no others then.
    pub dense: Option<Frames>,
    /// How the weights are stored, or will be where they are not packed yet.
    pub format: WeightFormat,
    pub scale: f32,
}

impl Matrix<'_> {
    /// How many numbers the currents of one panel are.
    pub fn size(&self, panel: usize) -> usize {
        let columns = self.outputs.saturating_sub(panel * PANEL * TILE).min(PANEL * TILE);
        columns.div_ceil(TILE) * TILE * self.events.len()
    }

    /// Adds all currents `[tile][image][step][lane]` of one panel to `currents`, which are zero.
    #[inline(always)]
    pub fn add_currents<S: Simd>(&self, simd: S, panel: usize, currents: &mut [f32]) {
        if let Some(frames) = &self.dense {
            let weights = match self.packed {
                Some(Weights::Tiles(weights)) => MatrixWeights::Packed(cast_slice(weights)),
                _ => MatrixWeights::Plain { matrix: self.weights, outputs: self.outputs },
            };
            let (first, scale) = (panel * PANEL, self.scale);
            let product = bf16::Product { frames, weights, first, scale, currents };
            return with_format(Precision::Bf16, product);
        }
        let first = panel * PANEL * TILE;
        let columns = first..self.outputs.min(first + PANEL * TILE);
        let format = self.format;
        // Classes of a readout may be far fewer than a tile has columns.
        let width = columns.len().next_multiple_of(format.columns()).min(TILE);
        let tiles = columns.len().div_ceil(TILE);
        let rows = self.events.len();
        // Of a tile of a block.
        let size = block(format) * TILE;
        // Numbers, or words of two.
        let room = tiles * size * format.bytes() / size_of::<f32>();
        let mut buffer = Scratch::new(if self.packed.is_some() { 0 } else { room });
        // All panels before this one have all their tiles.
        let start = panel * PANEL * size * self.blocks.len();
        // A tile of weights that were packed before comes from memory, in any order: the next one
        // is needed for while this one is added up, so many cache lines for each row of currents.
        let line = 64 / format.bytes();
        let lines = (size / line).div_ceil(rows);
        for (index, block) in self.blocks.iter().enumerate() {
            if self.packed.is_none() {
                let matrix = (self.weights, self.outputs);
                let part = (block.rows.clone(), columns.clone(), size / TILE);
                match format {
                    WeightFormat::Bf16 => {
                        let words: &mut [u32] = cast_slice_mut(&mut buffer);
                        pack(matrix, part, |at, row| {
                            halves::pack_to(row, &mut words[at / 2..][..TILE / 2]);
                        });
                    }
                    _ => pack(matrix, part, |at, row| buffer[at..][..TILE].copy_from_slice(row)),
                }
            }
            for (tile, currents) in currents.chunks_exact_mut(rows * TILE).enumerate() {
                let place = start + (index * tiles + tile) * size;
                let weights = match self.packed {
                    Some(all) => all.rows((place, size), columns.start + tile * TILE, TILE),
                    None if format == WeightFormat::Bf16 => Rows::Halves(halves::Rows {
                        words: &cast_slice(&buffer)[tile * size / 2..][..size / 2],
                        width: TILE,
                    }),
                    None => Rows::Full { matrix: &buffer[tile * size..][..size], width: TILE },
                };
                let mut first = 0;
                let mut ahead = place + size;
                for (currents, &end) in currents.chunks_exact_mut(TILE).zip(&block.ends) {
                    if let Some(all) = self.packed {
                        for _ in 0..lines {
                            all.prefetch(ahead);
                            ahead += line;
                        }
                    }
                    let events = &block.events[first..end];
                    weights.add(simd, &mut currents[..width], events, self.scale);
                    first = end;
                }
            }
        }
    }
}

/// Hands out some rows and columns of a matrix of so many columns, in the order `[tile][row][column]`, `block`
/// rows in a tile: a row of a tile, with zeros where there are no more columns, and where it belongs.
#[inline(always)]
fn pack(
    (matrix, width): (&[f32], usize),
    (rows, columns, block): (Range<usize>, Range<usize>, usize),
    mut put: impl FnMut(usize, &[f32; TILE]),
) {
    for (index, row) in rows.enumerate() {
        let from = &matrix[row * width..][columns.clone()];
        // Rows lie far apart, so the machine does not foresee where the next piece begins.
        for column in columns.clone().step_by(LANES) {
            prefetch(matrix, (row + AHEAD) * width + column, CacheLevel::L2);
        }
        let (tiles, rest) = from.as_chunks::<TILE>();
        let mut at = index * TILE;
        for tile in tiles {
            put(at, tile);
            at += block * TILE;
        }
        if !rest.is_empty() {
            let mut filled = [0.0; TILE];
            filled[..rest.len()].copy_from_slice(rest);
            put(at, &filled);
        }
    }
}

/// A whole matrix as [`Matrix::add_currents`] reads it: `[panel][block][tile][row][column]`, zeros where
/// the last block or tile has no more rows or columns. It sees maps of so many positions downstream a pooling.
pub(crate) fn pack_all(
    matrix: &[f32],
    [positions, outputs]: [usize; 2],
    pooling: &PoolAndMask,
    format: WeightFormat,
) -> Weights {
    if format == WeightFormat::Bf16 && bf16::fit(pooling) {
        return Weights::Tiles(Arc::new(bf16::pack_matrix(matrix, outputs, positions)));
    }
    let inputs = matrix.len() / outputs;
    let block = block(format);
    let blocks = inputs.div_ceil(block);
    let numbers = blocks * block * outputs.next_multiple_of(TILE);
    let size = (outputs, block);
    let packed = match format {
        WeightFormat::F32 => {
            let mut packed = Scratch::zeros_unpooled(numbers);
            pack_panels(matrix, size, &mut packed, |row, to| to.copy_from_slice(row));
            return Weights::Full(Arc::new(packed));
        }
        WeightFormat::Bf16 => {
            let mut packed = Scratch::zeros_unpooled(numbers / 2);
            let words = cast_slice_mut(&mut packed);
            pack_panels(matrix, size, words, halves::pack_row);
            return Weights::Halves(Arc::new(packed));
        }
        WeightFormat::Int12 => {
            let mut packed = vec![0.0; numbers];
            pack_panels(matrix, size, &mut packed, |row, to| to.copy_from_slice(row));
            packed
        }
    };
    let tiles = (0..outputs.div_ceil(TILE)).into_par_iter();
    let steps = tiles.flat_map_iter(|tile| {
        let columns = tile * TILE..outputs.min((tile + 1) * TILE);
        fixed::steps(matrix.chunks_exact(outputs).map(|row| &row[columns.clone()]), TILE)
    });
    let steps: Vec<f32> = steps.collect();
    let mut words = vec![0; packed.len() / 2];
    let panel = blocks * block * PANEL * TILE;
    let panels = words.par_chunks_mut(panel / 2).zip(packed.par_chunks(panel));
    panels.zip(steps.par_chunks(PANEL * TILE)).for_each(|((words, packed), steps)| {
        let tiles = words.chunks_exact_mut(block * TILE / 2).zip(packed.chunks_exact(block * TILE));
        for ((words, packed), steps) in tiles.zip(steps.chunks_exact(TILE).cycle()) {
            fixed::pack(packed, steps, words);
        }
    });
    Weights::Fixed { words, steps }
}

/// Hands out the rows of tiles of a whole matrix, with where each of them belongs in `packed`.
fn pack_panels<W: Send>(
    matrix: &[f32],
    (outputs, block): (usize, usize),
    packed: &mut [W],
    write: impl Fn(&[f32], &mut [W]) + Sync,
) {
    let inputs = matrix.len() / outputs;
    let rows = inputs.next_multiple_of(block);
    // Of a row of a tile.
    let width = TILE * packed.len() / (rows * outputs.next_multiple_of(TILE));
    packed.par_chunks_mut(rows * PANEL * width).enumerate().for_each(|(panel, packed)| {
        let columns = panel * PANEL * TILE..outputs.min((panel + 1) * PANEL * TILE);
        let size = columns.len().div_ceil(TILE) * block * width;
        for (index, packed) in packed.chunks_exact_mut(size).enumerate() {
            let rows = index * block..inputs.min((index + 1) * block);
            pack((matrix, outputs), (rows, columns.clone(), block), |at, row| {
                write(row, &mut packed[at / TILE * width..][..width]);
            });
        }
    });
}
