//! Products that do not skip zeros, for processors that multiply tiles of bfloat16 (AMX).
//!
//! There a product with a tile costs so little that it is faster than adding up what the spikes
//! name, at any rate of interest (`docs/performance.md`). Spikes become numbers for it: how often a
//! window's channel fired, which bfloat16 holds exactly up to 256.

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::memory::Scratch;
use crate::product::{BLOCK, Operand, Place, SIDE, TileTask, Tiles, has_tiles, pair, tiles_left};

use super::circuit::{Shape, View};
use super::events::Allowed;
use super::linear::TILE;
use super::simd::LANES;
use super::spikes::{Grid, Spikes};

/// Whether spikes behind a view can be numbers for tiles: bfloat16 counts to 256.
pub(super) fn fit(view: &View) -> bool {
    has_tiles() && view.pool[0] * view.pool[1] <= 256
}

/// Numbers that are multiplied together: as many pairs as a tile is deep.
const GROUP: usize = 2 * SIDE;

/// Spikes behind a view as numbers, `[image][step][group][padded position][channel of the group]`: so
/// all that a kernel's window multiplies of a group lies together, in the first-level cache.
#[derive(Debug)]
pub(super) struct Frames {
    /// Pairs.
    numbers: Scratch,
    /// Positions of a padded row, and of a padded map.
    width: usize,
    positions: usize,
    /// From a step to the next one, in pairs.
    pitch: usize,
    steps: usize,
    /// Images times steps.
    count: usize,
}

impl Frames {
    /// For a convolution: with zeros around the maps.
    pub fn of_maps(
        spikes: &Spikes,
        view: &View,
        mask: Option<&[f32]>,
        [kernel, stride]: [usize; 2],
    ) -> Self {
        // Tiles may reach that far beyond the last position.
        Self::new(spikes, view, mask, kernel / 2, [0, SIDE * stride])
    }

    /// For a matrix: each frame is a row.
    pub fn of_rows(spikes: &Spikes, view: &View, mask: Option<&[f32]>) -> Self {
        // Rows at a power of two from each other would push each other out of the cache.
        Self::new(spikes, view, mask, 0, [SIDE, 0])
    }

    fn new(
        spikes: &Spikes,
        view: &View,
        mask: Option<&[f32]>,
        border: usize,
        [between, behind]: [usize; 2],
    ) -> Self {
        let shape = view.shape(spikes.grid.shape);
        let width = shape.width + 2 * border;
        let positions = (shape.height + 2 * border) * width;
        let pitch = shape.channels.div_ceil(GROUP) * positions * SIDE + between;
        let (steps, count) = (spikes.steps, spikes.batch * spikes.steps);
        // What is behind the last frame, and between them, meets no weight or is not looked at.
        let mut numbers = Scratch::new(count.next_multiple_of(SIDE) * pitch + behind * SIDE);
        let allowed: Vec<Allowed> = mask.map_or_else(Vec::new, |mask| {
            mask.chunks_exact(shape.neurons()).map(|mask| Allowed::of(mask, shape)).collect()
        });
        let frames = numbers.par_chunks_exact_mut(pitch).take(count).enumerate();
        frames.for_each(|(frame, numbers)| {
            Arch::new().dispatch(Expand {
                spikes,
                view,
                allowed: allowed.get(frame / steps),
                frame: (frame / steps, frame % steps),
                border,
                positions,
                numbers: cast_slice_mut(&mut numbers[..pitch - between]),
            });
        });
        Self { numbers, width, positions, pitch, steps, count }
    }
}

/// One frame, all of it written.
struct Expand<'a> {
    spikes: &'a Spikes,
    view: &'a View,
    allowed: Option<&'a Allowed>,
    /// Image and step.
    frame: (usize, usize),
    border: usize,
    /// Of a padded map.
    positions: usize,
    numbers: &'a mut [u16],
}

impl WithSimd for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { spikes, view, allowed, frame: (image, step), border, positions, numbers } = self;
        let Shape { height, width, .. } = view.shape(spikes.grid.shape);
        let [rows, columns] = view.pool;
        let words = spikes.grid.words();
        let padded = width + 2 * border;
        // Two words of channels make a group.
        let groups = numbers.chunks_exact_mut(positions * GROUP);
        for (group, numbers) in groups.enumerate() {
            let (places, _) = numbers.as_chunks_mut::<GROUP>();
            for (row, places) in places.chunks_exact_mut(padded).enumerate() {
                let row = row.wrapping_sub(border);
                if row >= height {
                    places.fill([0; GROUP]);
                    continue;
                }
                places[..border].fill([0; GROUP]);
                places[border + width..].fill([0; GROUP]);
                let places = &mut places[border..border + width];
                for half in 0..GROUP / LANES {
                    let word = group * (GROUP / LANES) + half;
                    let (tile, of_tile) = (word / words, word % words);
                    let halves = places.iter_mut().map(|place| &mut place.as_chunks_mut().0[half]);
                    if tile >= spikes.grid.tiles() {
                        halves.for_each(|half| *half = [0; LANES]);
                        continue;
                    }
                    let first = row * rows * spikes.grid.shape.width;
                    let at = spikes.at(tile, image, step, first) + of_tile;
                    for (column, half) in halves.enumerate() {
                        let allowed = allowed
                            .map_or(u16::MAX, |allowed| allowed.word(row * width + column, word));
                        let at = at + column * columns * words;
                        if view.pool == [1, 1] {
                            *half = ones(spikes.words[at] & allowed);
                            continue;
                        }
                        let mut sums = [0; LANES];
                        for row in 0..rows {
                            for column in 0..columns {
                                let place = row * spikes.grid.shape.width + column;
                                let word = spikes.words[at + place * words] & allowed;
                                for (lane, sum) in sums.iter_mut().enumerate() {
                                    *sum += word >> lane & 1;
                                }
                            }
                        }
                        *half = sums.map(|sum| (f32::from(sum).to_bits() >> 16) as u16);
                    }
                }
            }
        }
    }
}

/// A 1 of bfloat16 for each bit.
#[inline(always)]
fn ones(word: u16) -> [u16; LANES] {
    const ONE: u16 = 0x3f80;
    std::array::from_fn(|lane| if word & 1 << lane != 0 { ONE } else { 0 })
}

/// Convolution weights, as `super::convolution::pack` orders them `[tile][tap][input][output of the
/// tile]`, as `[tile][group of inputs][block of outputs][tap][pair of inputs][output of the block]`.
pub(super) fn pack_convolution(packed: &[f32], [inputs, taps]: [usize; 2], tile: usize) -> Scratch {
    let groups = inputs.div_ceil(GROUP);
    let tiles = packed.len() / (inputs * taps * tile);
    let mut pairs = Scratch::zeros(tiles * groups * taps * SIDE * tile);
    for (index, to) in pairs.chunks_exact_mut(SIDE * BLOCK).enumerate() {
        let to = cast_slice_mut(to);
        let (rest, tap) = (index / taps, index % taps);
        let (rest, block) = (rest / (tile / BLOCK), rest % (tile / BLOCK));
        let (of_tile, group) = (rest / groups, rest % groups);
        let rows = (group * GROUP..inputs.min((group + 1) * GROUP)).map(|input| {
            let row = (of_tile * taps + tap) * inputs + input;
            &packed[row * tile + block * BLOCK..][..BLOCK]
        });
        pack_pairs(rows, to.chunks_exact_mut(BLOCK));
    }
    pairs
}

/// Two rows at a time; a missing second one is zero.
fn pack_pairs<'a, 'b>(
    mut rows: impl Iterator<Item = &'a [f32]>,
    to: impl Iterator<Item = &'b mut [u32]>,
) {
    for to in to {
        let Some(first) = rows.next() else { return };
        let second = rows.next();
        for (column, (to, &first)) in to.iter_mut().zip(first).enumerate() {
            *to = pair(first, second.map_or(0.0, |second| second[column]));
        }
    }
}

/// The currents of one map from one step's spikes.
pub(super) struct Convolution<'a> {
    pub frames: &'a Frames,
    pub image: usize,
    pub step: usize,
    pub kernel: usize,
    pub stride: usize,
    /// The weights of a tile.
    pub weights: &'a [u32],
    pub grid: Grid,
    /// Those of [`Sums`].
    pub currents: &'a mut [f32],
}

/// How the currents of a map lie that [`Convolution`] makes: `[block of outputs][row][column][lane]`.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// Columns of a row, with what is between the rows.
    pitch: usize,
    /// Columns of all rows, multiples of a tile's.
    length: usize,
}

impl Sums {
    /// Without a stride, all rows are one line, with the border between them.
    pub fn new(shape: Shape, kernel: usize, stride: usize) -> Self {
        if stride == 1 {
            let pitch = shape.width + kernel - 1;
            let columns = (shape.height - 1) * pitch + shape.width;
            Self { pitch, length: columns.next_multiple_of(SIDE) }
        } else {
            let pitch = shape.width.next_multiple_of(SIDE);
            Self { pitch, length: shape.height * pitch }
        }
    }

    /// How many numbers they are, for a tile of so many outputs.
    pub fn len(self, tile: usize) -> usize {
        self.length * tile
    }

    /// Adds those of one row to currents `[column][lane]`.
    #[inline(always)]
    pub fn add_row(self, sums: &[f32], row: usize, tile: usize, scale: f32, currents: &mut [f32]) {
        for (block, sums) in sums.chunks_exact(self.length * BLOCK).enumerate() {
            let sums = sums[row * self.pitch * BLOCK..].as_chunks::<BLOCK>().0;
            for (currents, sums) in currents.chunks_exact_mut(tile).zip(sums) {
                let currents = &mut currents[block * BLOCK..][..BLOCK];
                for (current, sum) in currents.iter_mut().zip(sums) {
                    *current += scale * sum;
                }
            }
        }
    }
}

impl TileTask for Convolution<'_> {
    /// A group of inputs after the other, since what a group multiplies stays in the first-level cache
    /// for the whole map; the sums come and go.
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { frames, image, step, kernel, stride, weights, grid, currents } = self;
        let taps = kernel * kernel;
        let Sums { pitch, length } = Sums::new(grid.shape, kernel, stride);
        let (lines, of_line) = if stride == 1 { (1, length) } else { (grid.shape.height, pitch) };
        let numbers: &[u32] = cast_slice(&frames.numbers);
        let numbers = &numbers[(image * frames.steps + step) * frames.pitch..];
        let place = Place::matrix(BLOCK);
        let rows = stride * SIDE;
        for (group, weights) in weights.chunks_exact(taps * SIDE * grid.tile).enumerate() {
            let numbers = &numbers[group * frames.positions * SIDE..];
            let blocks = weights.chunks_exact(taps * SIDE * BLOCK);
            for (weights, sums) in blocks.zip(currents.chunks_exact_mut(length * BLOCK)) {
                for line in 0..lines {
                    let mut start = 0;
                    while start < of_line {
                        let size = [tiles_left(start, of_line), BLOCK / SIDE];
                        let sums = &mut sums[(line * pitch + start) * BLOCK..];
                        match group {
                            0 => tiles.zero(),
                            _ => tiles.load(size, sums, place),
                        }
                        for tap in 0..taps {
                            let position = (line * stride + tap / kernel) * frames.width
                                + start * stride
                                + tap % kernel;
                            tiles.add(
                                size,
                                Operand::new(&numbers[position * SIDE..], rows, SIDE * rows),
                                Operand::new(&weights[tap * SIDE * BLOCK..], BLOCK, SIDE),
                            );
                        }
                        tiles.store(size, sums, place);
                        start += size[0] * SIDE;
                    }
                }
            }
        }
    }
}

/// A matrix `[inputs, outputs]`, its inputs in the order channels, positions, as `[block of
/// outputs][group][position][pair of channels][output of the block]`, for whole tiles of outputs.
pub(super) fn pack_matrix(matrix: &[f32], outputs: usize, positions: usize) -> Scratch {
    let channels = matrix.len() / outputs / positions;
    let depth = channels.div_ceil(GROUP) * positions * SIDE;
    let mut packed = Scratch::zeros(depth * outputs.next_multiple_of(TILE));
    packed.par_chunks_exact_mut(depth * BLOCK).enumerate().for_each(|(block, to)| {
        let columns = outputs.min(block * BLOCK)..outputs.min((block + 1) * BLOCK);
        let to: &mut [u32] = cast_slice_mut(to);
        for (index, to) in to.chunks_exact_mut(SIDE * BLOCK).enumerate() {
            let (group, position) = (index / positions, index % positions);
            let rows = (group * GROUP..channels.min((group + 1) * GROUP)).map(|channel| {
                &matrix[(channel * positions + position) * outputs..][columns.clone()]
            });
            pack_pairs(rows, to.chunks_exact_mut(BLOCK));
        }
    });
    packed
}

/// Adds the currents `[tile][image and step][lane]` of some tiles of outputs.
pub(super) struct Product<'a> {
    pub rows: &'a Frames,
    pub weights: &'a [u32],
    /// The first tile.
    pub first: usize,
    pub scale: f32,
    pub currents: &'a mut [f32],
}

/// Pairs that are multiplied before the next rows are: so many of 128 rows are a quarter of a MiB,
/// and so many rows of weights 64 KiB, which a core's second-level cache holds.
const DEPTH: usize = 512;

impl TileTask for Product<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { rows, weights, first, scale, currents } = self;
        let Frames { ref numbers, pitch, count, .. } = *rows;
        let (numbers, rows): (&[u32], usize) = (cast_slice(numbers), count.next_multiple_of(SIDE));
        let depth = pitch - SIDE;
        let mut sums = Scratch::new(rows * TILE);
        for (tile, currents) in currents.chunks_exact_mut(count * TILE).enumerate() {
            for start in (0..depth).step_by(DEPTH) {
                let end = depth.min(start + DEPTH);
                for half in 0..TILE / BLOCK {
                    let block = (first + tile) * (TILE / BLOCK) + half;
                    let weights = &weights[block * depth * BLOCK..][..depth * BLOCK];
                    let mut row = 0;
                    while row < rows {
                        let size = [tiles_left(row, rows), BLOCK / SIDE];
                        let sums = &mut sums[row * TILE + half * BLOCK..];
                        match start {
                            0 => tiles.zero(),
                            _ => tiles.load(size, sums, Place::matrix(TILE)),
                        }
                        for at in (start..end).step_by(SIDE) {
                            tiles.add(
                                size,
                                Operand::new(&numbers[row * pitch + at..], pitch, SIDE * pitch),
                                Operand::new(&weights[at * BLOCK..], BLOCK, SIDE),
                            );
                        }
                        tiles.store(size, sums, Place::matrix(TILE));
                        row += size[0] * SIDE;
                    }
                }
            }
            for (current, &sum) in currents.iter_mut().zip(&*sums) {
                *current += scale * sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::convolution;
    use super::*;
    use crate::product::{Emulated, Format};

    /// Small whole numbers, which bfloat16 holds.
    fn numbers(count: usize, by: usize) -> Vec<f32> {
        (0..count).map(|i| (i * by % 15) as f32 - 7.0).collect()
    }

    const STEPS: usize = 2;
    const BATCH: usize = 3;

    /// Spikes of a shape, a mask behind the view, and how often what is not masked fires there, by
    /// step, image, channel and position.
    struct Fired {
        spikes: Spikes,
        mask: Vec<f32>,
        counts: Vec<f32>,
        seen: Shape,
    }

    fn fired(shape: Shape, view: &View) -> Fired {
        let size = shape.neurons();
        let fires = |i: usize| if i * 7919 % 31 < 9 { 1.0 } else { 0.0 };
        let all: Vec<f32> = (0..STEPS * BATCH * size).map(fires).collect();
        let seen = view.shape(shape);
        let mask: Vec<f32> =
            (0..BATCH * seen.neurons()).map(|i| if i % 5 == 0 { 0.0 } else { 1.25 }).collect();
        let mut counts = vec![0.0; STEPS * BATCH * seen.neurons()];
        for (index, count) in counts.iter_mut().enumerate() {
            let (map, position) = (index / seen.positions(), index % seen.positions());
            let (y, x) = (position / seen.width, position % seen.width);
            for row in 0..view.pool[0] {
                for column in 0..view.pool[1] {
                    let (y, x) = (y * view.pool[0] + row, x * view.pool[1] + column);
                    *count += all[map * shape.positions() + y * shape.width + x];
                }
            }
            if mask[index % mask.len()] == 0.0 {
                *count = 0.0;
            }
        }
        Fired { spikes: Spikes::of(&all, shape, BATCH, STEPS), mask, counts, seen }
    }

    const POOLED: View = View { pool: [2, 2], mask: None };

    #[test]
    fn maps_are_those_of_the_convolution() {
        for ([inputs, height, width], outputs, tile, kernel, stride, view) in [
            ([3, 5, 4], 32, 32, 3, 1, View::PLAIN),
            ([40, 12, 16], 100, 128, 3, 1, POOLED),
            ([33, 7, 9], 64, 32, 3, 2, View::PLAIN),
            ([64, 1, 1], 32, 32, 1, 1, View::PLAIN),
            ([16, 8, 8], 40, 64, 1, 2, POOLED),
        ] {
            let fired = fired(Shape { channels: inputs, height, width }, &view);
            let seen = fired.seen;
            let [height, width] = [seen.height, seen.width].map(|size| size.div_ceil(stride));
            let grid = Grid { shape: Shape { channels: outputs, height, width }, tile };
            let taps = kernel * kernel;
            let weights = numbers(outputs * inputs * taps, 11);
            let packed = convolution::pack(&weights, inputs, taps, grid);
            let packed = pack_convolution(&packed, [inputs, taps], tile);
            let of_tile = packed.len() / grid.tiles();
            let mask = Some(&fired.mask[..]);
            let frames = Frames::of_maps(&fired.spikes, &view, mask, [kernel, stride]);
            let sums = Sums::new(grid.shape, kernel, stride);
            for (step, image, output) in (0..STEPS * BATCH * outputs)
                .map(|i| (i / outputs / BATCH, i / outputs % BATCH, i % outputs))
                .filter(|&(step, image, output)| (step + image + output) % 3 == 0)
            {
                let (index, lane) = (output / tile, output % tile);
                let mut map = vec![f32::NAN; sums.len(tile)];
                Emulated.with_tiles(Convolution {
                    frames: &frames,
                    image,
                    step,
                    kernel,
                    stride,
                    weights: cast_slice(&packed[index * of_tile..][..of_tile]),
                    grid,
                    currents: &mut map,
                });
                for row in 0..height {
                    let mut currents = vec![1.0; width * tile];
                    sums.add_row(&map, row, tile, 0.5, &mut currents);
                    for column in 0..width {
                        let mut expected = 0.0;
                        for (input, tap) in (0..inputs * taps).map(|i| (i / taps, i % taps)) {
                            let y = (row * stride + tap / kernel).wrapping_sub(kernel / 2);
                            let x = (column * stride + tap % kernel).wrapping_sub(kernel / 2);
                            if y < seen.height && x < seen.width {
                                let map = (step * BATCH + image) * inputs + input;
                                let at = map * seen.positions() + y * seen.width + x;
                                let weight = weights[(output * inputs + input) * taps + tap];
                                expected += weight * fired.counts[at];
                            }
                        }
                        assert_eq!(currents[column * tile + lane], 1.0 + 0.5 * expected);
                    }
                }
            }
        }
    }

    #[test]
    fn currents_are_those_of_the_matrix() {
        for ([channels, height, width], outputs, view) in [
            ([1000, 1, 1], 70, View::PLAIN),
            ([20, 4, 6], 130, POOLED),
            ([1100, 1, 1], 10, View::PLAIN),
        ] {
            let fired = fired(Shape { channels, height, width }, &view);
            let positions = fired.seen.positions();
            let weights = numbers(channels * positions * outputs, 11);
            let packed = pack_matrix(&weights, outputs, positions);
            let rows = Frames::of_rows(&fired.spikes, &view, Some(&fired.mask));
            // All tiles but the first one.
            let tiles = outputs.div_ceil(TILE);
            let first = usize::from(tiles > 1);
            let mut currents = vec![1.0; (tiles - first) * BATCH * STEPS * TILE];
            Emulated.with_tiles(Product {
                rows: &rows,
                weights: cast_slice(&packed),
                first,
                scale: 0.5,
                currents: &mut currents,
            });
            for (index, current) in currents.iter().enumerate() {
                let output = (first + index / (BATCH * STEPS * TILE)) * TILE + index % TILE;
                let (image, step) = (index / TILE / STEPS % BATCH, index / TILE % STEPS);
                let counts = &fired.counts[(step * BATCH + image) * channels * positions..];
                let terms = (0..channels * positions).map(|input| {
                    counts[input] * weights.get(input * outputs + output).unwrap_or(&0.0)
                });
                let expected: f32 = if output < outputs { terms.sum() } else { 0.0 };
                assert_eq!(*current, 1.0 + 0.5 * expected, "{index}");
            }
        }
    }
}
