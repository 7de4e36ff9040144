//! The forward pass of a layer on maps with AMX.
//!
//! A job computes the currents of a few images at all time steps, one position after the other.
//! They enter the membranes at once, so no map of currents is stored.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use pulp::bytemuck::cast_slice;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::frames::LaneGroup;
use super::window::{Window, WindowTap, windows};
use super::{FRAMES, Frames, GROUP};
use crate::args::ForwardArgs;
use crate::event::simd::LANES;
use crate::event::weights::Weights;
use crate::graph::{Projection, Synapse};
use crate::neuron::{LaneParams, fill_bias};
use crate::spikes::{Grid, Spikes};
use crate::tape::{LayerRecord, PartMut, RecordPart, Tape};
use lasnn_core::mask::MaskRows;
use lasnn_core::simd::vectors;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{SIDE, TileTask, Tiles, bf16_to_f32, with_tiles};

/// Bytes of spike counts that exist at once, unless those of one job are more.
const HELD: usize = 64 << 20;

/// Runs all time steps of a layer whose projections are convolutions and identities.
///
/// Writes the layer's spikes, its membrane potentials after the last step, and its record.
pub(crate) fn run_maps(
    args: &ForwardArgs<'_>,
    layer: usize,
    tape: &Tape,
    membranes: &mut [f32],
    (spikes, record): (&mut Spikes, &mut LayerRecord),
) {
    let projections = &args.graph.layers[layer].projections;
    let (grid, steps) = (args.grid(layer), tape.steps);
    let params = &LaneParams::of(args, layer);
    let inputs: Vec<Input<'_>> = projections
        .iter()
        .map(|projection| Input::new(args, projection, grid, tape.spikes(projection.presynaptic)))
        .collect();
    // As many images as fill tiles, but no fewer jobs than threads.
    let jobs = args.batch * grid.tiles() / rayon::current_num_threads();
    let together = (FRAMES / steps.max(1)).min(jobs).clamp(1, args.batch.max(1));
    let neurons = projections.iter().map(|projection| args.graph.pooled(projection).len());
    let bytes = 2 * together * steps * neurons.sum::<usize>();
    let wave = (HELD / bytes.max(1)).max(1) * together;

    let map = grid.shape.positions() * grid.tile;
    let of_image = spikes.image_words();
    let words = spikes.words.chunks_mut((args.batch * of_image).max(1));
    let membranes = membranes.chunks_mut((args.batch * map).max(1));
    let records =
        record.parts_mut([args.batch, together].map(|images| images * steps * map), grid.tiles());
    let mut records = records.into_iter();
    let mut waves: Vec<Vec<Chunk<'_>>> = Vec::new();
    for (tile, (words, membranes)) in words.zip(membranes).enumerate() {
        let chunks =
            words.chunks_mut(together * of_image).zip(membranes.chunks_mut(together * map));
        // The records go on with the next tile where the chunks of this one end.
        for (index, ((words, membranes), record)) in chunks.zip(&mut records).enumerate() {
            let first = index * together;
            let images = first..args.batch.min(first + together);
            let chunk = Chunk { tile, images, words, membranes, record };
            waves.resize_with(waves.len().max(first / wave + 1), Vec::new);
            waves[first / wave].push(chunk);
        }
    }
    for chunks in waves {
        let images = chunks.iter().filter(|chunk| chunk.tile == 0);
        let images = images.map(|chunk| chunk.images.clone());
        let frames = |images: Range<usize>| -> Vec<Frames> {
            let of = |input: &Input<'_>| {
                Frames::of(input.spikes, &input.projection.pooling, input.mask, images.clone())
            };
            inputs.iter().map(of).collect()
        };
        let frames: Vec<Vec<Frames>> = images.map(frames).collect();
        let first = chunks.first().map_or(0, |chunk| chunk.images.start);
        let layer = Layer { inputs: &inputs, grid, steps, params };
        chunks.into_par_iter().for_each(|chunk| {
            let frames = &frames[(chunk.images.start - first) / together];
            with_tiles(RunChunk { layer, frames, chunk });
        });
    }
}

/// A projection with its spikes and its packed weights.
struct Input<'a> {
    projection: &'a Projection,
    spikes: &'a Spikes,
    mask: Option<MaskRows<'a>>,
    scale: f32,
    /// By position of the layer; `None` for an identity.
    windows: Option<Vec<Vec<WindowTap>>>,
    /// In tiles; empty for an identity.
    weights: Cow<'a, Weights>,
}

impl<'a> Input<'a> {
    fn new(
        args: &ForwardArgs<'a>,
        projection: &'a Projection,
        grid: Grid,
        spikes: &'a Spikes,
    ) -> Self {
        let pooled = args.graph.pooled(projection);
        let (windows, weights) = match projection.synapse {
            Synapse::Conv { kernel, stride, weight } => {
                let weights =
                    args.packed_weights.map(|packed_weights| packed_weights.weight(weight));
                let weights = weights.map(Cow::Borrowed).unwrap_or_else(|| {
                    let size = [pooled.channels, kernel * kernel];
                    let pairs = super::pack_convolution(args.params[weight], size, grid.lanes());
                    Cow::Owned(Weights::Tiles(Arc::new(pairs)))
                });
                (Some(windows(pooled, grid.shape, kernel, stride)), weights)
            }
            _ => (None, Cow::Owned(Weights::none())),
        };
        let mask = args.mask(projection);
        Self { projection, spikes, mask, scale: args.scale(projection), windows, weights }
    }
}

/// The layer that all jobs compute a part of.
#[derive(Clone, Copy)]
struct Layer<'a> {
    inputs: &'a [Input<'a>],
    grid: Grid,
    steps: usize,
    params: &'a LaneParams,
}

/// What a job writes: some images of a channel tile.
struct Chunk<'a> {
    tile: usize,
    images: Range<usize>,
    /// `[image][step][position][word]`.
    words: &'a mut [u16],
    /// `[image][position][lane]`.
    membranes: &'a mut [f32],
    /// `[image][step][position][lane]`.
    record: RecordPart<'a>,
}

struct RunChunk<'a> {
    layer: Layer<'a>,
    /// By input.
    frames: &'a [Frames],
    chunk: Chunk<'a>,
}

impl TileTask for RunChunk<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { layer, frames, mut chunk } = self;
        let Layer { inputs, grid, .. } = layer;
        let room = frames.first().map_or(0, |frames| frames.room);
        let mut sums = Scratch::new(room * grid.tile);
        let mut currents = Scratch::new(room * grid.tile);
        for position in 0..grid.shape.positions() {
            for (index, (input, frames)) in inputs.iter().zip(frames).enumerate() {
                match (&input.windows, &*input.weights) {
                    (Some(windows), Weights::Tiles(weights)) => {
                        let size = weights.len() / grid.tiles();
                        let weights = cast_slice(&weights[chunk.tile * size..][..size]);
                        let taps = &windows[position];
                        let window = Window { frames, taps, weights, outputs: grid.tile };
                        window.product(&mut tiles, 0..room, &mut sums);
                        if index == 0 {
                            fill_bias(layer.params.bias(chunk.tile), &mut currents);
                        }
                        add_scaled(&sums, input.scale, &mut currents);
                    }
                    _ => {
                        if index == 0 {
                            fill_bias(layer.params.bias(chunk.tile), &mut currents);
                        }
                        let tile = (chunk.tile, grid);
                        add_spikes(frames, position, tile, input.scale, &mut currents);
                    }
                }
            }
            let currents = &currents[..];
            vectors().dispatch(Integrate { layer, position, currents, chunk: &mut chunk });
        }
    }
}

vectorised! {
    fn add_scaled<'a>(sums: &'a [f32], scale: f32, currents: &'a mut [f32]) -> () {
        for (current, sum) in currents.iter_mut().zip(sums) {
            *current += scale * sum;
        }
    }
}

/// Adds the currents `[frame][lane]` of an identity: the spike counts at a position.
fn add_spikes(
    frames: &Frames,
    position: usize,
    (tile, grid): (usize, Grid),
    scale: f32,
    currents: &mut [f32],
) {
    for (frame, currents) in currents.chunks_exact_mut(grid.tile).take(frames.count).enumerate() {
        for (block, currents) in currents.chunks_exact_mut(GROUP).enumerate() {
            let group = tile * (grid.tile / GROUP) + block;
            if group >= frames.groups {
                return;
            }
            let pairs = &frames.channel_pairs(LaneGroup { position, group }, frame)[..SIDE];
            for (current, &number) in currents.iter_mut().zip(cast_slice::<u32, u16>(pairs)) {
                *current += scale * bf16_to_f32(number);
            }
        }
    }
}

/// Takes the neurons at one position through all time steps.
struct Integrate<'a, 'b> {
    layer: Layer<'a>,
    position: usize,
    /// `[frame][lane]`.
    currents: &'a [f32],
    chunk: &'a mut Chunk<'b>,
}

impl WithSimd for Integrate<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer: Layer { grid, steps, params, .. }, position, currents, chunk } = self;
        let neurons = params.tile(chunk.tile);
        let (tile, words, positions) = (grid.tile, grid.tile / LANES, grid.shape.positions());
        let images = chunk.membranes.chunks_exact_mut(positions * tile);
        for (image, membranes) in images.enumerate() {
            let u = &mut membranes[position * tile..][..tile];
            for frame in image * steps..(image + 1) * steps {
                let currents = &currents[frame * tile..][..tile];
                let place = frame * positions + position;
                neurons.step(simd, u, currents, &mut chunk.words[place * words..][..words]);
                if let PartMut::Currents(saved) = &mut chunk.record.saved {
                    saved[place * tile..][..tile].copy_from_slice(currents);
                }
                chunk.record.write(&neurons, u, place * tile);
            }
        }
    }
}
