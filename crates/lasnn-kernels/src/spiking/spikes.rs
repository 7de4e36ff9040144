//! Spikes, a bit each.

use std::ops::Range;

use rayon::prelude::*;

use super::circuit::Shape;
use super::simd::LANES;

/// How a map is cut for the kernels: channels in tiles, so that the weights of a tile stay in cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub shape: Shape,
    /// Channels in a tile, a multiple of [`LANES`]; the last tile may reach beyond the channels.
    pub tile: usize,
}

impl Grid {
    /// Tiles of a map.
    pub fn tiles(&self) -> usize {
        self.shape.channels.div_ceil(self.tile)
    }

    /// Words of a tile at one position.
    pub fn words(&self) -> usize {
        self.tile / LANES
    }

    /// Channels of a map, those that only fill up its last tile included.
    pub fn lanes(&self) -> usize {
        self.tiles() * self.tile
    }
}

/// The spikes of a site over some steps, `[tile][image][step][position][word]`; the lowest bit of a
/// word is its first channel.
#[derive(Clone, Debug)]
pub(super) struct Spikes {
    pub grid: Grid,
    pub batch: usize,
    pub steps: usize,
    pub words: Vec<u16>,
}

impl Spikes {
    /// Nobody fires.
    pub fn silent(grid: Grid, batch: usize, steps: usize) -> Self {
        let size = grid.tiles() * batch * steps * grid.shape.positions() * grid.words();
        Self { grid, batch, steps, words: vec![0; size] }
    }

    /// The spikes of `[steps, batch, channels, height, width]` numbers: one wherever a number is
    /// above 0.
    pub fn of(numbers: &[f32], shape: Shape, batch: usize, steps: usize) -> Self {
        let grid = Grid { shape, tile: shape.channels.next_multiple_of(LANES) };
        let mut spikes = Self::silent(grid, batch, steps);
        let (positions, words) = (shape.positions(), grid.words());
        let size = spikes.image_words();
        spikes.words.par_chunks_exact_mut(size).enumerate().for_each(|(image, bits)| {
            for (step, bits) in bits.chunks_exact_mut(positions * words).enumerate() {
                let frame = &numbers[(step * batch + image) * shape.neurons()..];
                let maps = frame.chunks_exact(positions).take(shape.channels);
                for (channel, map) in maps.enumerate() {
                    for (bits, &number) in bits.chunks_exact_mut(words).zip(map) {
                        bits[channel / LANES] |= u16::from(number > 0.0) << (channel % LANES);
                    }
                }
            }
        });
        spikes
    }

    /// Those of some images.
    pub fn images(&self, images: Range<usize>) -> Self {
        let size = self.image_words();
        let tiles = self.words.chunks_exact(self.batch * size);
        let words = tiles.flat_map(|tile| &tile[images.start * size..images.end * size]);
        Self { words: words.copied().collect(), batch: images.len(), ..*self }
    }

    /// Images times steps.
    pub fn frames(&self) -> usize {
        self.batch * self.steps
    }

    /// How many spikes there are.
    pub fn number(&self) -> usize {
        let ones =
            |words: &[u16]| words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        self.words.par_chunks(1 << 16).map(ones).sum()
    }

    /// Words of one image in one tile.
    pub fn image_words(&self) -> usize {
        self.steps * self.grid.shape.positions() * self.grid.words()
    }

    /// Where the words of a tile at a position are.
    #[inline(always)]
    pub fn at(&self, tile: usize, image: usize, step: usize, position: usize) -> usize {
        let place = (tile * self.batch + image) * self.steps + step;
        (place * self.grid.shape.positions() + position) * self.grid.words()
    }

    /// How often each neuron fired, added to `[batch, channels, height, width]` numbers.
    pub fn count(&self, counts: &mut [f32]) {
        let Shape { channels, .. } = self.grid.shape;
        let positions = self.grid.shape.positions();
        counts.par_chunks_exact_mut(channels * positions).enumerate().for_each(
            |(image, counts)| {
                for tile in 0..self.grid.tiles() {
                    let first = self.at(tile, image, 0, 0);
                    let words = &self.words[first..first + self.image_words()];
                    for (place, &word) in words.iter().enumerate() {
                        let (place, lane) = (place / self.grid.words(), place % self.grid.words());
                        let position = place % positions;
                        let mut word = word;
                        while word != 0 {
                            let bit = word.trailing_zeros() as usize;
                            let channel = tile * self.grid.tile + lane * LANES + bit;
                            counts[channel * positions + position] += 1.0;
                            word &= word - 1;
                        }
                    }
                }
            },
        );
    }
}
