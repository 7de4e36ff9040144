//! A layer on maps with tiles: currents of all steps of a few images, one position after the other, which
//! go into the membranes as they come.

use std::borrow::Cow;
use std::ops::Range;

use pulp::bytemuck::cast_slice;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{FRAMES, Frames, GROUP, TILE};
use crate::args::ForwardArgs;
use crate::event::conv;
use crate::event::simd::LANES;
use crate::event::weights::{WeightFormat, Weights};
use crate::graph::{Projection, Synapse};
use crate::neuron::Neurons;
use crate::spikes::{Grid, Spikes};
use crate::tape::{PartMut, Saved, Tape};
use lasnn_core::Shape;
use lasnn_core::mask::MaskRows;
use lasnn_core::simd::vectors;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{
    BLOCK, Operand, SIDE, TileLayout, TileTask, Tiles, bf16_to_f32, tiles_left, with_tiles,
};

/// Bytes of spikes as numbers that are held at once, where those of a job are not more.
const HELD: usize = 64 << 20;

/// A projection of a layer.
struct Feed<'a> {
    projection: &'a Projection,
    spikes: &'a Spikes,
    mask: Option<MaskRows<'a>>,
    scale: f32,
    /// For each position of the layer the taps of a convolution and what they see; none of an identity.
    windows: Option<Vec<Vec<[usize; 2]>>>,
    /// Pairs.
    weights: Cow<'a, Weights>,
}

impl<'a> Feed<'a> {
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
                    let format = (WeightFormat::Bf16, true);
                    Cow::Owned(conv::pack_all(args.weights[weight], size, grid, format))
                });
                (Some(windows(pooled, grid.shape, kernel, stride)), weights)
            }
            _ => (None, Cow::Owned(Weights::none())),
        };
        let mask = args.mask(projection);
        Self { projection, spikes, mask, scale: args.scale(projection), windows, weights }
    }
}

/// For each position of the outputs, the taps that lie on the map, and the positions that they see.
fn windows(pooled: Shape, outputs: Shape, kernel: usize, stride: usize) -> Vec<Vec<[usize; 2]>> {
    let window = |position: usize| {
        let (row, column) = (position / outputs.width * stride, position % outputs.width * stride);
        let of = |tap: usize| {
            let y = (row + tap / kernel).checked_sub(kernel / 2).filter(|&y| y < pooled.height)?;
            let x =
                (column + tap % kernel).checked_sub(kernel / 2).filter(|&x| x < pooled.width)?;
            Some([tap, y * pooled.width + x])
        };
        (0..kernel * kernel).filter_map(of).collect()
    };
    (0..outputs.positions()).map(window).collect()
}

/// Runs all steps of a layer whose projections are convolutions and identities.
pub(crate) fn run_maps(
    args: &ForwardArgs<'_>,
    layer: usize,
    tape: &Tape,
    membranes: &mut [f32],
    (spikes, saved): (&mut Spikes, &mut Saved),
) {
    let projections = &args.graph.layers[layer].projections;
    let (grid, steps) = (args.grid(layer), tape.steps);
    let feeds: Vec<Feed<'_>> = projections
        .iter()
        .map(|projection| Feed::new(args, projection, grid, tape.spikes(projection.presynaptic)))
        .collect();
    // As many images as fill tiles, but no fewer jobs than threads.
    let jobs = args.batch * grid.tiles() / rayon::current_num_threads();
    let together = (FRAMES / steps.max(1)).min(jobs).clamp(1, args.batch.max(1));
    let neurons = projections.iter().map(|projection| args.graph.pooled(projection).len());
    let bytes = 2 * together * steps * neurons.sum::<usize>();
    let wave = (HELD / bytes.max(1)).max(1) * together;

    let frame = grid.shape.positions() * grid.tile;
    let of_image = spikes.image_words();
    let words = spikes.words.chunks_mut((args.batch * of_image).max(1));
    let membranes = membranes.chunks_mut((args.batch * frame).max(1));
    let saved =
        saved.parts_mut([args.batch, together].map(|images| images * steps * frame), grid.tiles());
    let mut saved = saved.into_iter();
    let mut waves: Vec<Vec<Images<'_>>> = Vec::new();
    for (tile, (words, membranes)) in words.zip(membranes).enumerate() {
        let images =
            words.chunks_mut(together * of_image).zip(membranes.chunks_mut(together * frame));
        for (index, (words, membranes)) in images.enumerate() {
            let first = index * together;
            let images = first..args.batch.min(first + together);
            let job = Images {
                tile,
                images,
                words,
                membranes,
                saved: saved.next().unwrap_or(PartMut::Nothing),
            };
            waves.resize_with(waves.len().max(first / wave + 1), Vec::new);
            waves[first / wave].push(job);
        }
    }
    for jobs in waves {
        let groups = jobs.iter().filter(|job| job.tile == 0).map(|job| job.images.clone());
        let frames = |images: Range<usize>| -> Vec<Frames> {
            let of = |feed: &Feed<'_>| {
                Frames::of(feed.spikes, &feed.projection.pooling, feed.mask, images.clone())
            };
            feeds.iter().map(of).collect()
        };
        let frames: Vec<Vec<Frames>> = groups.map(frames).collect();
        let first = jobs.first().map_or(0, |job| job.images.start);
        let task = Task { feeds: &feeds, grid, steps, neurons: args.neurons[layer] };
        jobs.into_par_iter().for_each(|job| {
            let frames = &frames[(job.images.start - first) / together];
            with_tiles(Run { task, frames, job });
        });
    }
}

/// Some images of a tile of a layer, all of what belongs to them.
struct Images<'a> {
    tile: usize,
    images: Range<usize>,
    /// `[image][step][position][word]`.
    words: &'a mut [u16],
    /// `[image][position][lane]`.
    membranes: &'a mut [f32],
    /// `[image][step][position][lane]`.
    saved: PartMut<'a>,
}

#[derive(Clone, Copy)]
struct Task<'a> {
    feeds: &'a [Feed<'a>],
    grid: Grid,
    steps: usize,
    neurons: Neurons,
}

struct Run<'a> {
    task: Task<'a>,
    /// By feed.
    frames: &'a [Frames],
    job: Images<'a>,
}

impl TileTask for Run<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { task, frames, mut job } = self;
        let Task { feeds, grid, .. } = task;
        let room = frames.first().map_or(0, |frames| frames.room);
        let mut sums = Scratch::new(room * grid.tile);
        let mut currents = Scratch::new(room * grid.tile);
        for position in 0..grid.shape.positions() {
            for (index, (feed, frames)) in feeds.iter().zip(frames).enumerate() {
                match (&feed.windows, &*feed.weights) {
                    (Some(windows), Weights::Tiles(weights)) => {
                        let size = weights.len() / grid.tiles();
                        let weights = cast_slice(&weights[job.tile * size..][..size]);
                        let (frames, window) = ((frames, 0..room), &windows[position]);
                        add_up(&mut tiles, frames, window, weights, grid.tile, &mut sums);
                        if index == 0 {
                            currents.fill(0.0);
                        }
                        add_scaled(&sums, feed.scale, &mut currents);
                    }
                    _ => {
                        if index == 0 {
                            currents.fill(0.0);
                        }
                        add_spikes(frames, position, (job.tile, grid), feed.scale, &mut currents);
                    }
                }
            }
            let currents = &currents[..];
            vectors().dispatch(Integrate { task, position, currents, job: &mut job });
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

/// Writes the sums `[frame][output of the tile]` of a window, of its taps and the positions that they see, for
/// some frames from a whole tile on.
#[inline(always)]
pub(crate) fn add_up<T: Tiles>(
    tiles: &mut T,
    (numbers, frames): (&Frames, Range<usize>),
    window: &[[usize; 2]],
    weights: &[u32],
    tile: usize,
    sums: &mut [f32],
) {
    let of_tap = numbers.groups * SIDE * BLOCK;
    let of_block = weights.len() / (tile / BLOCK);
    for first in frames.clone().step_by(FRAMES) {
        let size = [tiles_left(first, frames.end), BLOCK / SIDE];
        for (block, weights) in weights.chunks_exact(of_block).enumerate() {
            tiles.zero();
            let products = window.iter().flat_map(|&[tap, position]| {
                let weights = weights[tap * of_tap..][..of_tap].chunks_exact(SIDE * BLOCK);
                weights.enumerate().map(move |(group, weights)| {
                    [
                        Operand::new(numbers.from(position, group, first), SIDE, TILE),
                        Operand::new(weights, BLOCK, SIDE),
                    ]
                })
            });
            tiles.add(size, products);
            let place = (first - frames.start) * tile + block * BLOCK;
            tiles.store(size, &mut sums[place..], TileLayout::matrix(tile));
        }
    }
}

/// Adds the spikes at a position themselves.
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
            let numbers = &frames.from(position, group, frame)[..SIDE];
            for (current, &number) in currents.iter_mut().zip(cast_slice::<u32, u16>(numbers)) {
                *current += scale * bf16_to_f32(number);
            }
        }
    }
}

/// All steps of the neurons at a position.
struct Integrate<'a, 'b> {
    task: Task<'a>,
    position: usize,
    /// `[frame][lane]`.
    currents: &'a [f32],
    job: &'a mut Images<'b>,
}

impl WithSimd for Integrate<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task: Task { grid, steps, neurons, .. }, position, currents, job } = self;
        let (tile, words, positions) = (grid.tile, grid.tile / LANES, grid.shape.positions());
        let images = job.membranes.chunks_exact_mut(positions * tile);
        for (image, membranes) in images.enumerate() {
            let u = &mut membranes[position * tile..][..tile];
            for frame in image * steps..(image + 1) * steps {
                let currents = &currents[frame * tile..][..tile];
                let place = frame * positions + position;
                neurons.step(simd, u, currents, &mut job.words[place * words..][..words]);
                match &mut job.saved {
                    PartMut::Nothing => {}
                    PartMut::Currents(saved) => {
                        saved[place * tile..][..tile].copy_from_slice(currents)
                    }
                    PartMut::SurrogateQ8(saved) => {
                        neurons.surrogate_q8(u, &mut saved[place * tile..][..tile])
                    }
                }
            }
        }
    }
}
