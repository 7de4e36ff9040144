//! NeuronLayers on maps: convolutions and shortcuts of spikes, summed into the same membranes.
//!
//! For each output position the events of its window become one list, and the weights that they
//! name are added up in registers. The currents of one row of a map are all that is ever stored.

use std::borrow::Cow;
use std::sync::Arc;

use pulp::Simd;
use pulp::bytemuck::cast_slice_mut;
use rayon::prelude::*;

use lasnn_core::mask::MaskRows;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::transpose::transpose;

use crate::args::ForwardArgs;
use crate::bf16;
use crate::event::int12 as fixed;
use crate::event::list::{Events, Gathered};
use crate::event::packed_bf16 as halves;
use crate::event::simd::LANES;
use crate::event::weights::{WeightFormat, Weights};
use crate::graph::{Projection, Synapse};
use crate::spikes::{Grid, Spikes};
use lasnn_core::Shape;

/// Weights of a tile that stay in a core's second-level cache beside the membranes.
const TILE_BYTES: usize = 640 << 10;

/// How the map of a layer with these projections is cut into tiles.
pub(crate) fn grid(args: &ForwardArgs<'_>, shape: Shape, projections: &[Projection]) -> Grid {
    let inputs = projections.iter().map(|projection| match projection.synapse {
        Synapse::Conv { kernel, .. } => kernel * kernel * args.graph.pooled(projection).channels,
        _ => 1,
    });
    Grid { shape, tile: tile(shape.channels, inputs.max().unwrap_or(1), args.format()) }
}

/// The widest tile of `channels` whose weights for `inputs` fit, and that wastes little.
pub(crate) fn tile(channels: usize, inputs: usize, format: WeightFormat) -> usize {
    let fits = |&tile: &usize| {
        let wasted = channels.next_multiple_of(tile) - channels;
        wasted * 4 <= channels && inputs * tile * format.bytes() <= TILE_BYTES
    };
    [128, 64, 32].into_iter().find(fits).unwrap_or(format.columns())
}

/// Hands out convolution weights `[outputs, inputs, taps]` as rows `[tile][tap][input][output of the tile]`, with
/// where each of them belongs in `packed`.
fn pack<W: Send>(
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
        // As they lie in memory, `[input][tap][output]`, some inputs at a time.
        let mut transposed_conv = vec![0.0; LANES * taps * tile];
        for some in (0..inputs).step_by(LANES) {
            let count = LANES.min(inputs - some);
            let from = (&weights[some * taps..], inputs * taps);
            transpose(from, (&mut transposed_conv, tile), [outputs, count * taps]);
            for (index, transposed_conv) in
                transposed_conv.chunks_exact(tile).take(count * taps).enumerate()
            {
                let (input, tap) = (some + index / taps, index % taps);
                write(transposed_conv, &mut packed[(tap * inputs + input) * width..][..width]);
            }
        }
    });
}

/// These rows in a format, or what tiles take where the layer is multiplied in them.
pub(crate) fn pack_all(
    weights: &[f32],
    [inputs, taps]: [usize; 2],
    grid: Grid,
    (format, tiled): (WeightFormat, bool),
) -> Weights {
    if tiled {
        let packed = bf16::pack_convolution(weights, [inputs, taps], grid.lanes());
        return Weights::Tiles(Arc::new(packed));
    }
    let (size, numbers) = ([inputs, taps], grid.lanes() * inputs * taps);
    let packed = match format {
        WeightFormat::F32 => {
            // All of it is written.
            let mut packed = Scratch::new(numbers);
            pack(weights, size, grid, &mut packed, |row, to| to.copy_from_slice(row));
            return Weights::Full(Arc::new(packed));
        }
        WeightFormat::Bf16 => {
            let mut packed = Scratch::new(numbers / 2);
            let words = cast_slice_mut(&mut packed);
            pack(weights, size, grid, words, halves::pack_row);
            return Weights::Halves(Arc::new(packed));
        }
        WeightFormat::Int12 => {
            let mut packed = vec![0.0; numbers];
            pack(weights, size, grid, &mut packed, |row, to| to.copy_from_slice(row));
            packed
        }
    };
    let (mut words, mut steps) = (vec![0; packed.len() / 2], Vec::new());
    let size = inputs * taps * grid.tile;
    let tiles = packed.chunks_exact(size).zip(words.chunks_exact_mut(size / 2));
    for (packed, words) in tiles {
        let of_tile = fixed::steps(packed.chunks_exact(grid.tile), grid.tile);
        fixed::pack(packed, &of_tile, words);
        steps.extend(of_tile);
    }
    Weights::Fixed { words, steps }
}

/// A projection of a layer, its weights packed and its spikes listed.
pub(crate) struct Feed<'a> {
    projection: Projection,
    /// The shape of what the weights see.
    pooled: Shape,
    packed: Cow<'a, Weights>,
    /// By image.
    pub events: Vec<Events>,
    scale: f32,
}

/// The feeds of a layer whose projections have fired `spikes`.
pub(crate) fn feeds<'a>(
    args: &ForwardArgs<'a>,
    projections: &[Projection],
    grid: Grid,
    spikes: &[&Spikes],
) -> Vec<Feed<'a>> {
    let feed = |(projection, spikes): (&Projection, &&Spikes)| {
        let pooled = args.graph.pooled(projection);
        let packed = match projection.synapse {
            Synapse::Conv { kernel, weight, .. } => match args.packed_weights {
                Some(packed_weights) => Cow::Borrowed(packed_weights.weight(weight)),
                None => {
                    let (size, format) =
                        ([pooled.channels, kernel * kernel], (args.format(), false));
                    Cow::Owned(pack_all(args.weights[weight], size, grid, format))
                }
            },
            _ => Cow::Owned(Weights::none()),
        };
        let mask = args.mask(projection);
        let (events, scale) = (events(spikes, projection, mask), args.scale(projection));
        Feed { projection: *projection, pooled, packed, events, scale }
    };
    projections.iter().zip(spikes).map(feed).collect()
}

/// The events of all images downstream the pooling of a projection.
pub(crate) fn events(
    spikes: &Spikes,
    projection: &Projection,
    mask: Option<MaskRows<'_>>,
) -> Vec<Events> {
    let of = |image: usize| Events::of(spikes, &projection.pooling, image, mask);
    (0..spikes.batch).into_par_iter().map(of).collect()
}

/// The projections of one tile of one image.
pub(crate) struct Unit<'a> {
    grid: Grid,
    tile: usize,
    image: usize,
    feeds: &'a [Feed<'a>],
    /// Constant currents `[position][lane]` from outside.
    constant: Option<&'a [f32]>,
    list: Gathered,
}

impl<'a> Unit<'a> {
    /// The `index`-th of the tiles and images, images faster.
    pub fn new(
        grid: Grid,
        index: usize,
        batch: usize,
        feeds: &'a [Feed<'a>],
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
            list: Gathered::with_capacity(longest),
        }
    }

    /// The currents `[column][lane]` of one row of the map, in `currents` unless they come from
    /// outside.
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
        currents.fill(0.0);
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

impl Feed<'_> {
    /// The longest list that [`Feed::gather`] can make: everybody in the window fires.
    fn longest_list(&self) -> usize {
        let [rows, columns] = self.projection.pooling.pool;
        match self.projection.synapse {
            Synapse::Conv { kernel, .. } => kernel * kernel * self.pooled.channels * rows * columns,
            _ => 0,
        }
    }

    /// Lists the weights that the window of an output position adds up.
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
        // The window's columns, and how far its first one lies before the map's first.
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
