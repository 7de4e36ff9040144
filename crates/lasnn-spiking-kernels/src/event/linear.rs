//! The currents of a linear layer, from events.
//!
//! A wide matrix does not fit into a cache. It is read in blocks that do, and each block serves all
//! images and time steps before the next one, so that the weights come from memory once.

use std::ops::Range;
use std::sync::Arc;

use pulp::Simd;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};

use crate::event::row_events::{BlockEvents, RowEvents};
use crate::event::weights::{Rows, WeightFormat, Weights};
use crate::event::{int12, packed_bf16};
use crate::spikes::LANES;

/// Neurons in a tile of a linear layer.
pub(crate) const TILE: usize = 64;

/// Tiles in a panel, the columns that one thread takes at once. A panel is wide enough that a row
/// of the matrix is read in long pieces, and narrow enough that its currents stay in a cache.
pub(crate) const PANEL: usize = 8;

/// The number of rows ahead for which a matrix is prefetched.
const AHEAD: usize = 8;

/// Rows in a block, so that one tile of a block fits into a core's first-level cache.
fn block_rows(format: WeightFormat) -> usize {
    match format {
        WeightFormat::F32 => 128,
        WeightFormat::Int12 | WeightFormat::Bf16 => 256,
    }
}

/// A matrix `[inputs, outputs]` with the events that name its rows.
pub(crate) struct Matrix<'a> {
    weights: &'a [f32],
    /// The same weights as [`pack`] packs them.
    packed: Option<&'a Weights>,
    outputs: usize,
    events: RowEvents,
    blocks: Vec<BlockEvents>,
    /// The format of the packed weights, or the format to pack them in.
    format: WeightFormat,
    scale: f32,
}

impl<'a> Matrix<'a> {
    /// A matrix, packed before or not. Currents are `scale` times sums of its rows.
    pub fn new(
        (weights, packed): (&'a [f32], Option<&'a Weights>),
        [inputs, outputs]: [usize; 2],
        events: RowEvents,
        format: WeightFormat,
        scale: f32,
    ) -> Self {
        let blocks = events.blocks(inputs, block_rows(format));
        Self { weights, packed, outputs, events, blocks, format, scale }
    }

    /// The rows that the spikes name.
    pub fn into_events(self) -> RowEvents {
        self.events
    }

    /// The number of columns.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        self.events.frames()
    }

    /// Adds the currents of one panel to `currents`, `[tile][frame][lane]`.
    #[inline(always)]
    pub fn add_currents<S: Simd>(&self, simd: S, panel: usize, currents: &mut [f32]) {
        let first = panel * PANEL * TILE;
        let columns = first..self.outputs.min(first + PANEL * TILE);
        let format = self.format;
        // A readout may have far fewer classes than a tile has columns.
        let width = columns.len().next_multiple_of(format.columns()).min(TILE);
        let tiles = columns.len().div_ceil(TILE);
        let frames = self.frames();
        // Weights in one tile of a block.
        let size = block_rows(format) * TILE;
        // Single-precision numbers, or words of two weights each.
        let room = tiles * size * format.bytes() / size_of::<f32>();
        let mut buffer = Scratch::new(if self.packed.is_some() { 0 } else { room });
        // All panels before this one have all their tiles.
        let start = panel * PANEL * size * self.blocks.len();
        // A tile of weights that were packed before comes from memory. So the next tile is
        // prefetched while this one is added up: `lines` cache lines for each frame.
        let line = 64 / format.bytes();
        let lines = (size / line).div_ceil(frames);
        for (index, block) in self.blocks.iter().enumerate() {
            if self.packed.is_none() {
                let matrix = (self.weights, self.outputs);
                let part = (block.rows.clone(), columns.clone(), size / TILE);
                match format {
                    WeightFormat::Bf16 => {
                        let words: &mut [u32] = cast_slice_mut(&mut buffer);
                        pack_rows(matrix, part, |at, row| {
                            let words = &mut words[at / 2..][..TILE / 2];
                            packed_bf16::pack_row_inline(row, words);
                        });
                    }
                    _ => {
                        pack_rows(matrix, part, |at, row| {
                            buffer[at..][..TILE].copy_from_slice(row);
                        });
                    }
                }
            }
            for (tile, currents) in currents.chunks_exact_mut(frames * TILE).enumerate() {
                let place = start + (index * tiles + tile) * size;
                let weights = match self.packed {
                    Some(all) => all.rows((place, size), columns.start + tile * TILE, TILE),
                    None if format == WeightFormat::Bf16 => Rows::Bf16(packed_bf16::Rows {
                        words: &cast_slice(&buffer)[tile * size / 2..][..size / 2],
                        width: TILE,
                    }),
                    None => Rows::F32 { matrix: &buffer[tile * size..][..size], width: TILE },
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

/// Packs a matrix of `outputs` columns as [`Matrix::add_currents`] reads it,
/// `[panel][block][tile][row][column]`. Missing rows and columns of the last block and tile are
/// zeros.
pub(crate) fn pack(matrix: &[f32], outputs: usize, format: WeightFormat) -> Weights {
    let inputs = matrix.len() / outputs;
    let block = block_rows(format);
    let blocks = inputs.div_ceil(block);
    let numbers = blocks * block * outputs.next_multiple_of(TILE);
    let size = (outputs, block);
    let packed = match format {
        WeightFormat::F32 => {
            let mut packed = Scratch::zeros_unpooled(numbers);
            pack_panels(matrix, size, &mut packed, |row, to| to.copy_from_slice(row));
            return Weights::F32(Arc::new(packed));
        }
        WeightFormat::Bf16 => {
            let mut packed = Scratch::zeros_unpooled(numbers / 2);
            let words = cast_slice_mut(&mut packed);
            pack_panels(matrix, size, words, packed_bf16::pack_row);
            return Weights::Bf16(Arc::new(packed));
        }
        WeightFormat::Int12 => {
            let mut packed = vec![0.0; numbers];
            pack_panels(matrix, size, &mut packed, |row, to| to.copy_from_slice(row));
            packed
        }
    };
    let tiles = (0..outputs.div_ceil(TILE)).into_par_iter();
    let scales = tiles.flat_map_iter(|tile| {
        let columns = tile * TILE..outputs.min((tile + 1) * TILE);
        int12::scales(matrix.chunks_exact(outputs).map(|row| &row[columns.clone()]), TILE)
    });
    let scales: Vec<f32> = scales.collect();
    let mut words = vec![0; packed.len() / 2];
    let panel = blocks * block * PANEL * TILE;
    let panels = words.par_chunks_mut(panel / 2).zip(packed.par_chunks(panel));
    panels.zip(scales.par_chunks(PANEL * TILE)).for_each(|((words, packed), scales)| {
        let tiles = words.chunks_exact_mut(block * TILE / 2).zip(packed.chunks_exact(block * TILE));
        for ((words, packed), scales) in tiles.zip(scales.chunks_exact(TILE).cycle()) {
            int12::pack(packed, scales, words);
        }
    });
    Weights::Int12 { words, scales }
}

/// Calls `write` for each row of each tile of a matrix, with its place in `packed`.
fn pack_panels<W: Send>(
    matrix: &[f32],
    (outputs, block): (usize, usize),
    packed: &mut [W],
    write: impl Fn(&[f32], &mut [W]) + Sync,
) {
    let inputs = matrix.len() / outputs;
    let rows = inputs.next_multiple_of(block);
    // Elements of `packed` for a row of a tile.
    let width = TILE * packed.len() / (rows * outputs.next_multiple_of(TILE));
    packed.par_chunks_mut(rows * PANEL * width).enumerate().for_each(|(panel, packed)| {
        let columns = panel * PANEL * TILE..outputs.min((panel + 1) * PANEL * TILE);
        let size = columns.len().div_ceil(TILE) * block * width;
        for (index, packed) in packed.chunks_exact_mut(size).enumerate() {
            let rows = index * block..inputs.min((index + 1) * block);
            pack_rows((matrix, outputs), (rows, columns.clone(), block), |at, row| {
                write(row, &mut packed[at / TILE * width..][..width]);
            });
        }
    });
}

/// Calls `put` for each row of each tile of some rows and columns of a matrix. `put` gets the row,
/// with zeros for missing columns, and its index in the order `[tile][row][column]` with `block`
/// rows in a tile.
#[inline(always)]
fn pack_rows(
    (matrix, width): (&[f32], usize),
    (rows, columns, block): (Range<usize>, Range<usize>, usize),
    mut put: impl FnMut(usize, &[f32; TILE]),
) {
    for (index, row) in rows.enumerate() {
        let from = &matrix[row * width..][columns.clone()];
        // Rows lie far apart, so the processor does not foresee where the next piece begins.
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
