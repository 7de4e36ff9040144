//! Gradients of a convolution's input spikes with tiles.
//!
//! Frames, the steps of all images, are the rows of a product here, one position after the other: so no map is
//! too small to fill tiles, and no border is multiplied.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::super::geometry::Geometry;
use super::super::input_grad::Shape;
use super::super::site_grad::SiteGrad;
use super::FRAMES;
use crate::memory::Scratch;
use crate::product::{BLOCK, Format, Operand, Place, SIDE, TileTask, Tiles, pair, tiles_left};

/// Bytes of the outputs' gradients that meet all weights of a block of inputs before the next block's.
const CACHED: usize = 512 << 10;

/// The gradient `[image][step][position][lane]` with respect to spikes, given `delta` and weights.
pub(in crate::spiking) fn input_grad<F: Format>(
    format: F,
    weights: &[f32],
    shape: Shape,
    delta: &SiteGrad,
    geometry: &Geometry,
) -> Scratch {
    // Pairs of the outputs of a tile, and of all outputs.
    let room = (delta.grid.tile / 2).next_multiple_of(SIDE);
    let width = delta.grid.tiles() * room;
    let packed = pack(weights, shape, [width, room, delta.grid.tile]);
    let (by_position, frames) = by_position(format, delta, room);
    let reached = geometry.reached(delta.padded, shape.taps);
    let mut taps = vec![Vec::new(); geometry.bases.len()];
    for (tap, reached) in reached.iter().enumerate() {
        reached.iter().for_each(|&[from, to]| taps[from].push([tap, to]));
    }
    let row = taps.len() * shape.lanes;
    let count = delta.images * delta.steps;
    // All of it is written, lanes beyond all blocks as well.
    let mut gradient = Scratch::new(count * row);
    gradient.par_chunks_mut(FRAMES * row).enumerate().for_each(|(job, gradient)| {
        let first = job * FRAMES;
        format.with_tiles(Frames {
            gradient,
            values: cast_slice(&by_position),
            packed: cast_slice(&packed),
            taps: &taps,
            lanes: shape.lanes,
            width,
            frames,
            first,
            count: FRAMES.min(count - first),
            all: shape.taps,
        });
    });
    gradient
}

/// Weights `[outputs, inputs, taps]` as `[block of inputs][tap][pair of outputs][input of the block]`. Each
/// `tile` of outputs has `room` of `width` pairs.
fn pack(weights: &[f32], shape: Shape, [width, room, tile]: [usize; 3]) -> Scratch {
    let Shape { inputs, taps, .. } = shape;
    let mut packed = Scratch::new(inputs.div_ceil(BLOCK) * taps * width * BLOCK);
    let is_whole = 2 * packed.len() == weights.len();
    packed.par_chunks_exact_mut(taps * width * BLOCK).enumerate().for_each(|(block, to)| {
        let to: &mut [u32] = cast_slice_mut(to);
        if !is_whole {
            to.fill(0);
        }
        let columns = block * BLOCK * taps..inputs.min((block + 1) * BLOCK) * taps;
        for (index, weights) in weights.chunks(2 * inputs * taps).enumerate() {
            let at = index / (tile / 2) * room + index % (tile / 2);
            let (first, second) = weights.split_at(inputs * taps);
            let second = second.get(columns.clone()).unwrap_or_default();
            for (place, &first) in first[columns.clone()].iter().enumerate() {
                let (lane, tap) = (place / taps, place % taps);
                // The last output of an odd number has no partner.
                let second = second.get(place).copied().unwrap_or(0.0);
                to[(tap * width + at) * BLOCK + lane] = pair(first, second);
            }
        }
    });
    packed
}

/// The outputs' gradients `[position][frame][pair of outputs]`, and how many frames there is room for.
fn by_position<F: Format>(format: F, delta: &SiteGrad, room: usize) -> (Scratch, usize) {
    let (grid, count) = (delta.grid, delta.images * delta.steps);
    let width = grid.tiles() * room;
    let frames = count.next_multiple_of(SIDE);
    // What is behind the last frame gives rows that nobody looks at.
    let mut values = Scratch::new(grid.shape.positions() * frames * width);
    values.par_chunks_exact_mut(frames * width).enumerate().for_each(|(position, values)| {
        for (frame, row) in values.chunks_exact_mut(width).take(count).enumerate() {
            for (index, to) in row.chunks_exact_mut(room).enumerate() {
                let (to, behind) = to.split_at_mut(grid.tile / 2);
                format.store(delta.lanes(index, frame, position), cast_slice_mut(to));
                behind.fill(0.0);
            }
        }
    });
    (values, frames)
}

/// Some frames.
struct Frames<'a> {
    /// `[frame][position][lane]`.
    gradient: &'a mut [f32],
    values: &'a [u32],
    /// `[block of inputs][tap][pair of outputs][input of the block]`.
    packed: &'a [u32],
    /// For each position its taps, and the positions that they reach.
    taps: &'a [Vec<[usize; 2]>],
    lanes: usize,
    /// Pairs of outputs.
    width: usize,
    /// Frames that there is room for, the first one of these, and how many these are.
    frames: usize,
    first: usize,
    count: usize,
    /// All taps.
    all: usize,
}

impl TileTask for Frames<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { gradient, values, packed, taps, lanes, width, frames, first, count, all } = self;
        let row = taps.len() * lanes;
        let of_block = all * width * BLOCK;
        let rows = tiles_left(0, count.next_multiple_of(SIDE));
        let direct = count == rows * SIDE;
        let mut sums = [0.0; FRAMES * BLOCK];
        let together = (CACHED / (FRAMES * width * size_of::<u32>())).max(1);
        for start in (0..taps.len()).step_by(together) {
            for block in 0..lanes.div_ceil(BLOCK) {
                let columns = BLOCK.min(lanes - block * BLOCK);
                let size = [rows, columns / SIDE];
                let packed = packed.get(block * of_block..).unwrap_or_default();
                for (index, taps) in taps[start..].iter().take(together).enumerate() {
                    tiles.zero();
                    // Nothing for lanes beyond the last input.
                    let taps = if packed.is_empty() { &[][..] } else { taps };
                    for &[tap, position] in taps {
                        let values = &values[(position * frames + first) * width..];
                        let packed = &packed[tap * width * BLOCK..];
                        for at in (0..width).step_by(SIDE) {
                            tiles.add(
                                size,
                                Operand::new(&values[at..], width, SIDE * width),
                                Operand::new(&packed[at * BLOCK..], BLOCK, SIDE),
                            );
                        }
                    }
                    let place = (start + index) * lanes + block * BLOCK;
                    if direct {
                        let to = Place { pitch: row, down: SIDE * row, right: SIDE };
                        tiles.store(size, &mut gradient[place..], to);
                        continue;
                    }
                    tiles.store(size, &mut sums, Place::matrix(BLOCK));
                    let frames = gradient.chunks_exact_mut(row);
                    for (to, sums) in frames.zip(sums.chunks_exact(BLOCK)) {
                        to[place..][..columns].copy_from_slice(&sums[..columns]);
                    }
                }
            }
        }
    }
}
