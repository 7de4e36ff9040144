//! Who fired, as lists: what the kernels walk instead of multiplying by zeros.
//!
//! A pooled spike is the same event at the position of its window: where two neurons of a window
//! fire, the list names their channel twice. So an event never carries a value, and every kernel
//! only adds.

use std::ops::Range;

use rayon::prelude::*;

use lasnn_core::mask::MaskRows;

use crate::event::simd::LANES;
use crate::graph::PoolAndMask;
use crate::spikes::Spikes;
use lasnn_core::Shape;

/// Who fired at each step and position of one image, in order.
///
/// An event is written as `column · channels + channel`, so that a row of a convolution's window is one
/// stretch of the list, in which a single offset names all weights.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    /// The events; [`SLACK`] more than there are, so that copies may read too far.
    codes: Vec<u32>,
    /// Where the events of a step and position begin, and where the last ones end.
    starts: Vec<u32>,
    shape: Shape,
}

/// How many words are looked at at once.
const WORDS: usize = 4;

/// At most [`WORDS`] words as one number, the first one lowest.
#[inline(always)]
fn bits(words: &[u16]) -> u64 {
    match *words {
        [a, b, c, d] => u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48,
        _ => words.iter().rev().fold(0, |bits, &word| bits << 16 | u64::from(word)),
    }
}

/// How far beyond its end a list may be read.
pub(crate) const SLACK: usize = 16;

impl Events {
    /// The events of one image downstream a pooling, given the mask of all images.
    pub fn of(
        spikes: &Spikes,
        pooling: &PoolAndMask,
        image: usize,
        mask: Option<MaskRows<'_>>,
    ) -> Self {
        let shape = pooling.shape(spikes.grid.shape);
        let places = spikes.steps * shape.positions();
        let mut events = Self {
            codes: Vec::with_capacity(places * shape.channels / 8),
            starts: Vec::with_capacity(places + 1),
            shape,
        };
        let allowed = mask.map(|mask| Allowed::of(mask, image, shape));
        for step in 0..spikes.steps {
            for position in 0..shape.positions() {
                events.starts.push(events.codes.len() as u32);
                events.push(spikes, pooling, (image, step, position), allowed.as_ref());
            }
        }
        events.starts.push(events.codes.len() as u32);
        events.codes.resize(events.codes.len() + SLACK, 0);
        events
    }

    /// Adds the events of one window. Four words at a time are taken across the window before the
    /// next four, so that channels come in the order of their fours.
    #[inline(always)]
    fn push(
        &mut self,
        spikes: &Spikes,
        pooling: &PoolAndMask,
        (image, step, position): (usize, usize, usize),
        allowed: Option<&Allowed>,
    ) {
        let [rows, columns] = pooling.pool;
        let (projection, shape) = (spikes.grid.shape, self.shape);
        let (row, column) = (position / shape.width, position % shape.width);
        let code = (column * shape.channels) as u32;
        let (y, x) = (row * rows, column * columns);
        let words = spikes.grid.words();
        for tile in 0..spikes.grid.tiles() {
            let first = spikes.at(tile, image, step, y * projection.width + x);
            for word in (0..words).step_by(WORDS) {
                let range = word..words.min(word + WORDS);
                let channel = (tile * spikes.grid.tile + word * LANES) as u32;
                let allowed = allowed.map_or(u64::MAX, |allowed| {
                    let first = position * allowed.stride + channel as usize / LANES;
                    bits(&allowed.words[first..first + range.len()])
                });
                for row in 0..rows {
                    for column in 0..columns {
                        let at = first + (row * projection.width + column) * words;
                        let fired = bits(&spikes.words[at + range.start..at + range.end]);
                        self.push_bits(fired & allowed, code + channel);
                    }
                }
            }
        }
    }

    /// Adds an event for each bit, counted from `first`.
    #[inline(always)]
    fn push_bits(&mut self, mut bits: u64, first: u32) {
        // One question for room instead of one for each event.
        let count = bits.count_ones() as usize;
        let start = self.codes.len();
        self.codes.resize(start + count, 0);
        for code in &mut self.codes[start..] {
            *code = first + bits.trailing_zeros();
            bits &= bits - 1;
        }
    }

    /// The channels that fired at a position.
    #[inline(always)]
    pub fn at(&self, step: usize, position: usize) -> impl Iterator<Item = u32> {
        let place = step * self.shape.positions() + position;
        let first = (position % self.shape.width * self.shape.channels) as u32;
        self.stretch(place..place + 1).iter().map(move |code| code - first)
    }

    #[inline(always)]
    fn stretch(&self, places: Range<usize>) -> &[u32] {
        &self.codes[self.starts[places.start] as usize..self.starts[places.end] as usize]
    }

    /// Appends the events of some columns of a row to `list`, each plus `offset`, which wraps around.
    ///
    /// Copies in blocks of [`SLACK`], which need no loop for the usual handful of events; what a block
    /// copies too much is written over by the next.
    #[inline(always)]
    pub fn append(
        &self,
        list: &mut Gathered,
        (step, row): (usize, usize),
        columns: Range<usize>,
        offset: u32,
    ) {
        let place = (step * self.shape.height + row) * self.shape.width;
        let start = self.starts[place + columns.start] as usize;
        let end = self.starts[place + columns.end] as usize;
        let mut at = start;
        while at < end {
            let from = &self.codes[at..at + SLACK];
            let to = &mut list.events[list.len + at - start..][..SLACK];
            for (to, &from) in to.iter_mut().zip(from) {
                *to = from.wrapping_add(offset);
            }
            at += SLACK;
        }
        list.len += end - start;
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.codes.len() - SLACK
    }

    /// The same events by channel: for each the places `step · positions + position` at which it
    /// fired, in order.
    pub fn by_channel(&self) -> ByChannel {
        let (positions, width) = (self.shape.positions(), self.shape.width);
        let channels = self.shape.channels;
        let places = 0..self.starts.len() - 1;
        let channel_of = |place: usize| {
            let first = place % positions % width * channels;
            move |code: &u32| *code as usize - first
        };
        let mut starts = vec![0u32; channels + 1];
        for place in places.clone() {
            for channel in self.stretch(place..place + 1).iter().map(channel_of(place)) {
                starts[channel + 1] += 1;
            }
        }
        for channel in 0..channels {
            starts[channel + 1] += starts[channel];
        }
        let mut next = starts.clone();
        let mut found = vec![0; self.len()];
        for place in places {
            for channel in self.stretch(place..place + 1).iter().map(channel_of(place)) {
                let at = &mut next[channel];
                found[*at as usize] = place as u32;
                *at += 1;
            }
        }
        ByChannel { places: found, starts }
    }
}

/// A list of events that is filled again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    events: Vec<u32>,
    len: usize,
}

impl Gathered {
    /// An empty list for at most `capacity` events.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { events: vec![0; capacity + SLACK], len: 0 }
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The events.
    #[inline(always)]
    pub fn list(&self) -> &[u32] {
        &self.events[..self.len]
    }
}

/// Where each channel fired.
#[derive(Clone, Debug)]
pub(crate) struct ByChannel {
    places: Vec<u32>,
    starts: Vec<u32>,
}

impl ByChannel {
    /// The places of one channel in a range of them.
    #[inline(always)]
    pub fn between(&self, channel: usize, range: Range<usize>) -> &[u32] {
        let places = self.places(channel);
        let before = |limit: usize| places.partition_point(|&place| (place as usize) < limit);
        &places[before(range.start)..before(range.end)]
    }

    /// The places of one channel.
    #[inline(always)]
    pub fn places(&self, channel: usize) -> &[u32] {
        &self.places[self.starts[channel] as usize..self.starts[channel + 1] as usize]
    }
}

/// A mask as bits, `[position][word]`.
pub(crate) struct Allowed {
    words: Vec<u16>,
    stride: usize,
}

impl Allowed {
    /// The bits of 16 channels at a position.
    #[inline(always)]
    pub fn word(&self, position: usize, word: usize) -> u16 {
        self.words[position * self.stride + word]
    }

    /// Those whom a mask does not silence, by image.
    pub fn by_image(mask: MaskRows<'_>, images: Range<usize>, shape: Shape) -> Vec<Self> {
        images.into_par_iter().map(|image| Self::of(mask, image, shape)).collect()
    }

    /// Those of an image.
    pub fn of(mask: MaskRows<'_>, image: usize, shape: Shape) -> Self {
        let positions = shape.positions();
        // Rounded up to the widest tile: the last one of a grid may reach beyond the channels.
        let stride = shape.channels.next_multiple_of(128) / LANES;
        let mut words = vec![0; positions * stride];
        for channel in 0..shape.channels {
            for position in 0..positions {
                let saved = mask.keeps(image, channel * positions + position);
                words[position * stride + channel / LANES] |= u16::from(saved) << (channel % LANES);
            }
        }
        Self { words, stride }
    }
}
