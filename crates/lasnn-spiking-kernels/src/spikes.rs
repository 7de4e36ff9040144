//! The spikes of a layer, one bit per neuron and time step.

use std::borrow::Cow;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::Shape;
use lasnn_core::neuron::{NeuronOptions, StepOrder};
use lasnn_core::simd::vectors;

/// Neurons in a word of spikes, and numbers in the widest vector register.
pub(crate) const LANES: usize = 16;

/// The first [`LANES`] numbers. The compiler knows how many they are.
#[inline(always)]
pub(crate) fn lanes_of<T>(numbers: &[T]) -> &[T; LANES] {
    numbers.first_chunk().expect("a group has LANES numbers")
}

/// How the channels of a feature map are cut into channel tiles, whose weights fit into a cache.
///
/// In this crate a tile is a channel tile. The tiles of 16 by 16 pairs that AMX multiplies are
/// named where they occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub shape: Shape,
    /// Channels of a tile, a multiple of [`LANES`]. The last tile may have lanes without a channel.
    pub tile: usize,
}

impl Grid {
    /// The number of tiles.
    pub fn tiles(&self) -> usize {
        self.shape.channels.div_ceil(self.tile)
    }

    /// Words of a tile at one position.
    pub fn words(&self) -> usize {
        self.tile / LANES
    }

    /// The number of lanes: the channels, and the lanes of the last tile without a channel.
    pub fn lanes(&self) -> usize {
        self.tiles() * self.tile
    }
}

/// The step at which the potential that the integration of `step` leaves decides about a spike;
/// `None` if the pass ends before.
#[inline(always)]
pub(crate) fn fires_at(options: NeuronOptions, step: usize, steps: usize) -> Option<usize> {
    match options.step_order {
        StepOrder::IntegrateThenFire => Some(step),
        StepOrder::FireThenIntegrate => Some(step + 1).filter(|&next| next < steps),
    }
}

/// The spikes of a layer over some time steps, `[tile][image][step][position][word]`. The lowest
/// bit of a word is its first channel.
#[derive(Clone, Debug)]
pub(crate) struct Spikes {
    pub grid: Grid,
    pub batch: usize,
    pub steps: usize,
    pub words: Vec<u16>,
}

impl Spikes {
    /// No spikes.
    pub fn silent(grid: Grid, batch: usize, steps: usize) -> Self {
        let size = grid.tiles() * batch * steps * grid.shape.positions() * grid.words();
        Self { grid, batch, steps, words: vec![0; size] }
    }

    /// The spikes of `[steps, batch, channels, height, width]` numbers: one for each number above
    /// 0.
    pub fn of(numbers: &[f32], shape: Shape, batch: usize, steps: usize) -> Self {
        let grid = Grid { shape, tile: shape.channels.next_multiple_of(LANES) };
        let mut spikes = Self::silent(grid, batch, steps);
        let (positions, words) = (shape.positions(), grid.words());
        let size = spikes.image_words();
        spikes.words.par_chunks_exact_mut(size).enumerate().for_each(|(image, bits)| {
            for (step, bits) in bits.chunks_exact_mut(positions * words).enumerate() {
                let frame = &numbers[(step * batch + image) * shape.len()..];
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

    /// The spikes of some images. They are copied unless these are all images.
    pub fn images(&self, images: Range<usize>) -> Cow<'_, Self> {
        if images == (0..self.batch) {
            return Cow::Borrowed(self);
        }
        let size = self.image_words();
        let mut words = Vec::with_capacity(self.words.len() / self.batch.max(1) * images.len());
        for tile in self.words.chunks_exact(self.batch * size) {
            words.extend_from_slice(&tile[images.start * size..images.end * size]);
        }
        Cow::Owned(Self { words, batch: images.len(), ..*self })
    }

    /// The number of frames: images times steps.
    pub fn frames(&self) -> usize {
        self.batch * self.steps
    }

    /// The number of spikes.
    pub fn number(&self) -> usize {
        let ones =
            |words: &[u16]| words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        self.words.par_chunks(1 << 16).map(ones).sum()
    }

    /// Words of one image in one tile.
    pub fn image_words(&self) -> usize {
        self.steps * self.grid.shape.positions() * self.grid.words()
    }

    /// The index of the first word of a tile at a position.
    #[inline(always)]
    pub fn at(&self, tile: usize, image: usize, step: usize, position: usize) -> usize {
        let place = (tile * self.batch + image) * self.steps + step;
        (place * self.grid.shape.positions() + position) * self.grid.words()
    }

    /// The spikes that the membrane potentials after step `step` decide, for the word number `word`
    /// of a tile. They are zero if the neurons send them after the last step.
    #[inline(always)]
    pub fn decided(
        &self,
        options: NeuronOptions,
        step: usize,
        (tile, image, word): (usize, usize, usize),
        position: usize,
    ) -> u16 {
        match fires_at(options, step, self.steps) {
            Some(sent) => self.words[self.at(tile, image, sent, position) + word],
            None => 0,
        }
    }

    /// Adds the spike count of each neuron to `counts`, `[batch, channels, height, width]`.
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

    /// The squared spike counts, summed over the channels, `[batch, height, width]`.
    pub fn squares(&self) -> Vec<f32> {
        let positions = self.grid.shape.positions();
        let mut sums = vec![0.0; self.batch * positions];
        sums.par_chunks_exact_mut(positions).enumerate().for_each(|(image, sums)| {
            vectors().dispatch(CountsByWord {
                spikes: self,
                image,
                visit: |position: usize, _, counts: [f32; LANES]| {
                    let mut squares = counts.map(|count| count * count);
                    for half in [8, 4, 2, 1] {
                        let (low, high) = squares.split_at_mut(half);
                        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
                    }
                    sums[position] += squares[0];
                },
            });
        });
        sums
    }

    /// Adds the gradients with respect to the spike counts to `count_grad`, `[batch, position,
    /// lane]`. `gradient` is with respect to the result of [`Spikes::squares`].
    pub fn squares_backward(&self, gradient: &[f32], count_grad: &mut [f32]) {
        let (positions, lanes) = (self.grid.shape.positions(), self.grid.lanes());
        let images = count_grad.par_chunks_exact_mut(positions * lanes).enumerate();
        images.zip(gradient.par_chunks_exact(positions)).for_each(
            |((image, count_grad), gradient)| {
                vectors().dispatch(CountsByWord {
                    spikes: self,
                    image,
                    visit: |position: usize, lane, counts: [f32; LANES]| {
                        let count_grad = &mut count_grad[position * lanes + lane..][..LANES];
                        for (count_grad, count) in count_grad.iter_mut().zip(counts) {
                            *count_grad += 2.0 * count * gradient[position];
                        }
                    },
                });
            },
        );
    }
}

/// Calls `visit` for each word of an image with its position, its first lane, and the spike counts
/// of its channels.
struct CountsByWord<'a, F> {
    spikes: &'a Spikes,
    image: usize,
    visit: F,
}

impl<F: FnMut(usize, usize, [f32; LANES])> WithSimd for CountsByWord<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { spikes, image, mut visit } = self;
        let Grid { shape, tile } = spikes.grid;
        let words = spikes.grid.words();
        let step = shape.positions() * words;
        for index in 0..spikes.grid.tiles() {
            let all = &spikes.words[spikes.at(index, image, 0, 0)..][..spikes.image_words()];
            for place in 0..step {
                let mut counts = [0u32; LANES];
                for word in all.iter().skip(place).step_by(step) {
                    for (lane, count) in counts.iter_mut().enumerate() {
                        *count += u32::from(word >> lane & 1);
                    }
                }
                let lane = index * tile + place % words * LANES;
                visit(place / words, lane, counts.map(|count| count as f32));
            }
        }
    }
}
