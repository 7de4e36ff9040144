//! The currents of a layer on feature maps, from events: convolutions and identity shortcuts of
//! spikes, summed into the same membranes.
//!
//! For each output position the events of its window become one list, and the weights that the list
//! names are added up in registers. Only the currents of one row of a map are stored at a time.

use std::borrow::Cow;
use std::sync::Arc;

use pulp::Simd;
use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use lasnn_core::Shape;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::transpose::transpose;

use crate::event::list::{Events, Gathered};
use crate::event::weights::{WeightFormat, Weights};
use crate::event::{int12, packed_bf16};
use crate::graph::{Projection, Synapse};
use crate::neuron::{LaneParams, fill_bias};
use crate::spikes::{Grid, LANES};

/// A projection with packed weights and lists of events.
pub(crate) struct Feed<'a> {
    pub projection: Projection,
    /// The shape after the pooling.
    pub pooled: Shape,
    pub packed: Cow<'a, Weights>,
    /// By image.
    pub events: Vec<Events>,
    /// The current of a spike over a weight of 1.
    pub scale: f32,
}

impl Feed<'_> {
    /// The length of the longest list that [`Feed::gather`] can make: all neurons of a window fire.
    fn longest_list(&self) -> usize {
        match self.projection.synapse {
            Synapse::Conv { kernel, .. } => {
                kernel * kernel * self.pooled.channels * self.projection.pooling.window()
            }
            _ => 0,
        }
    }

    /// Lists the weight rows `(ky · kernel + kx) · channels + channel` that the window of an output
    /// position adds up.
    #[inline(always)]
    fn gather(
        &self,
        events: &Events,
        (step, row, column): (usize, usize, usize),
        (kernel, stride): (usize, usize),
        list: &mut Gathered,
    ) {
        list.clear();
        let Shape { channels, height, width } = self.pooled;
        // The columns of the window that lie on the map. `before` is the code of the window's first
        // column, which wraps around where that column lies left of the map.
        let first = column * stride;
        let columns = first.saturating_sub(kernel / 2)..width.min(first + kernel - kernel / 2);
        let before = ((first * channels) as u32).wrapping_sub((kernel / 2 * channels) as u32);
        for ky in 0..kernel {
            let y = (row * stride + ky).wrapping_sub(kernel / 2);
            if y < height {
                let offset = ((ky * kernel * channels) as u32).wrapping_sub(before);
                events.append(list, (step, y), columns.clone(), offset);
            }
        }
    }
}

/// The currents of one tile of one image, which is what one thread computes at once.
pub(crate) struct Unit<'a> {
    grid: Grid,
    tile: usize,
    image: usize,
    feeds: &'a [Feed<'a>],
    /// Constant currents `[position][lane]` from outside.
    constant: Option<&'a [f32]>,
    /// The bias of each lane.
    bias: Option<&'a [f32]>,
    list: Gathered,
}

impl<'a> Unit<'a> {
    /// Unit number `index` in the order `[tile][image]`. `constant` holds the currents from outside
    /// of all units.
    pub fn new(
        grid: Grid,
        index: usize,
        batch: usize,
        (feeds, params): (&'a [Feed<'a>], &'a LaneParams),
        constant: Option<&'a [f32]>,
    ) -> Self {
        let longest = feeds.iter().map(|feed| feed.longest_list()).max().unwrap_or(0);
        let size = grid.shape.positions() * grid.tile;
        Self {
            grid,
            tile: index / batch,
            image: index % batch,
            feeds,
            constant: constant.map(|constant| &constant[index * size..][..size]),
            bias: params.bias(index / batch),
            list: Gathered::with_capacity(longest),
        }
    }

    /// The currents `[column][lane]` of one row of the map. They are written to `currents` unless
    /// they come from outside.
    #[inline(always)]
    pub fn currents<'b, S: Simd>(
        &'b mut self,
        simd: S,
        step: usize,
        row: usize,
        currents: &'b mut [f32],
    ) -> &'b [f32] {
        if let Some(constant) = self.constant {
            return &constant[row * currents.len()..][..currents.len()];
        }
        fill_bias(self.bias, currents);
        let tile = self.grid.tile;
        for feed in self.feeds {
            let events = &feed.events[self.image];
            for (column, currents) in currents.chunks_exact_mut(tile).enumerate() {
                match feed.projection.synapse {
                    Synapse::Conv { kernel, stride, .. } => {
                        feed.gather(events, (step, row, column), (kernel, stride), &mut self.list);
                        let rows = kernel * kernel * feed.pooled.channels;
                        let place = (self.tile * rows * tile, rows * tile);
                        let rows = feed.packed.rows(place, self.tile * tile, tile);
                        rows.add(simd, currents, self.list.list(), feed.scale);
                    }
                    Synapse::Identity | Synapse::Linear { .. } => {
                        let first = self.tile * tile;
                        for channel in events.at(step, row * feed.pooled.width + column) {
                            let lane = (channel as usize).wrapping_sub(first);
                            if lane < tile {
                                currents[lane] += feed.scale;
                            }
                        }
                    }
                }
            }
        }
        currents
    }
}

/// Packs the weights `[outputs, inputs, taps]` of a convolution as `[tile][tap][input][output of
/// the tile]`, where a tap is one of the `kernel · kernel` positions of the convolution kernel.
pub(crate) fn pack(
    weights: &[f32],
    [inputs, taps]: [usize; 2],
    grid: Grid,
    format: WeightFormat,
) -> Weights {
    let (size, numbers) = ([inputs, taps], grid.lanes() * inputs * taps);
    let packed = match format {
        WeightFormat::F32 => {
            // Every number is written.
            let mut packed = Scratch::new(numbers);
            pack_rows(weights, size, grid, &mut packed, |row, to| to.copy_from_slice(row));
            return Weights::F32(Arc::new(packed));
        }
        WeightFormat::Bf16 => {
            let mut packed = Scratch::new(numbers / 2);
            let words = cast_slice_mut(&mut packed);
            pack_rows(weights, size, grid, words, packed_bf16::pack_row);
            return Weights::Bf16(Arc::new(packed));
        }
        WeightFormat::Int12 => {
            let mut packed = vec![0.0; numbers];
            pack_rows(weights, size, grid, &mut packed, |row, to| to.copy_from_slice(row));
            packed
        }
    };
    let (mut words, mut scales) = (vec![0; packed.len() / 2], Vec::new());
    let size = inputs * taps * grid.tile;
    let tiles = packed.chunks_exact(size).zip(words.chunks_exact_mut(size / 2));
    for (packed, words) in tiles {
        let of_tile = int12::scales(packed.chunks_exact(grid.tile), grid.tile);
        int12::pack(packed, &of_tile, words);
        scales.extend(of_tile);
    }
    Weights::Int12 { words, scales }
}

/// Calls `write` for each row `[output of the tile]` of a tile, with its place in `packed`.
fn pack_rows<W: Send>(
    weights: &[f32],
    [inputs, taps]: [usize; 2],
    grid: Grid,
    packed: &mut [W],
    write: impl Fn(&[f32], &mut [W]) + Sync,
) {
    let Grid { tile, shape } = grid;
    let width = packed.len() / (grid.tiles() * inputs * taps);
    packed.par_chunks_mut(inputs * taps * width).enumerate().for_each(|(index, packed)| {
        let first = index * tile;
        let outputs = tile.min(shape.channels - first);
        let weights = &weights[first * inputs * taps..];
        // Rows `[input][tap][output]`, in the order of the weights, for some inputs at a time.
        let mut rows = vec![0.0; LANES * taps * tile];
        for some in (0..inputs).step_by(LANES) {
            let count = LANES.min(inputs - some);
            let from = (&weights[some * taps..], inputs * taps);
            transpose(from, (&mut rows, tile), [outputs, count * taps]);
            for (index, row) in rows.chunks_exact(tile).take(count * taps).enumerate() {
                let (input, tap) = (some + index / taps, index % taps);
                write(row, &mut packed[(tap * inputs + input) * width..][..width]);
            }
        }
    });
}
