//! Lists of events: the spikes of an image by time step and position.
//!
//! The kernels walk these lists instead of multiplying by zeros. A spike after an average pooling
//! is an event at the position of its window. If two neurons of one channel fire in a window, the
//! list names the channel twice. So an event carries no value, and the kernels only add.

use std::ops::Range;

use rayon::prelude::*;

use lasnn_core::Shape;
use lasnn_core::mask::MaskRows;

use crate::graph::PoolAndMask;
use crate::spikes::{LANES, Spikes};

/// The events of one image after a pooling and a mask, by time step and position.
///
/// An event is written as `column · channels + channel`. So the events of one row of a
/// convolution's window are one stretch of the list, and one offset turns all of them into the
/// indices of the weights that they name.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    /// The events, and [`SLACK`] more entries, so that copies in blocks may read past the end.
    codes: Vec<u32>,
    /// By time step and position: the index of its first event. The last entry is the number of
    /// events.
    starts: Vec<u32>,
    shape: Shape,
}

/// The number of entries past its end that a list may be read.
pub(crate) const SLACK: usize = 16;

/// Words of spikes that are combined into one number.
const WORDS: usize = 4;

impl Events {
    /// The events of all images. A mask has a row for each image.
    pub fn of_images(
        spikes: &Spikes,
        pooling: &PoolAndMask,
        mask: Option<MaskRows<'_>>,
    ) -> Vec<Self> {
        let of = |image: usize| Self::of(spikes, pooling, image, mask);
        (0..spikes.batch).into_par_iter().map(of).collect()
    }

    /// The events of one image.
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

    /// Appends the events of one window: for each [`WORDS`] words of channels, the events of all
    /// positions of the window.
    #[inline(always)]
    fn push(
        &mut self,
        spikes: &Spikes,
        pooling: &PoolAndMask,
        (image, step, position): (usize, usize, usize),
        allowed: Option<&Allowed>,
    ) {
        let [rows, columns] = pooling.pool;
        let (map, shape) = (spikes.grid.shape, self.shape);
        let (row, column) = (position / shape.width, position % shape.width);
        let code = (column * shape.channels) as u32;
        let (y, x) = (row * rows, column * columns);
        let words = spikes.grid.words();
        for tile in 0..spikes.grid.tiles() {
            let first = spikes.at(tile, image, step, y * map.width + x);
            for word in (0..words).step_by(WORDS) {
                let range = word..words.min(word + WORDS);
                let channel = (tile * spikes.grid.tile + word * LANES) as u32;
                let allowed = allowed.map_or(u64::MAX, |allowed| {
                    let first = position * allowed.stride + channel as usize / LANES;
                    combined(&allowed.words[first..first + range.len()])
                });
                for row in 0..rows {
                    for column in 0..columns {
                        let at = first + (row * map.width + column) * words;
                        let fired = combined(&spikes.words[at + range.start..at + range.end]);
                        self.push_bits(fired & allowed, code + channel);
                    }
                }
            }
        }
    }

    /// Appends the event `first + bit` for each bit that is set.
    #[inline(always)]
    fn push_bits(&mut self, mut bits: u64, first: u32) {
        // The list grows once for all events, not once for each of them.
        let count = bits.count_ones() as usize;
        let start = self.codes.len();
        self.codes.resize(start + count, 0);
        for code in &mut self.codes[start..] {
            *code = first + bits.trailing_zeros();
            bits &= bits - 1;
        }
    }

    /// The channels that fire at a time step and position.
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

    /// Appends the events of some columns of a row to `list`, each plus `offset`. The additions
    /// wrap around.
    ///
    /// The events are copied in blocks of [`SLACK`], so that the usual few events take no loop. The
    /// next events overwrite what a block copies too much.
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

    /// The number of events.
    pub fn len(&self) -> usize {
        self.codes.len() - SLACK
    }

    /// For each channel the places `step · positions + position` at which it fires, in order.
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

/// At most [`WORDS`] words as one number. The first word is the lowest.
#[inline(always)]
fn combined(words: &[u16]) -> u64 {
    match *words {
        [a, b, c, d] => u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48,
        _ => words.iter().rev().fold(0, |bits, &word| bits << 16 | u64::from(word)),
    }
}

/// A list of events whose memory is reused.
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

    /// Removes all events.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The events.
    #[inline(always)]
    pub fn list(&self) -> &[u32] {
        &self.events[..self.len]
    }
}

/// By channel: the places at which it fires.
#[derive(Clone, Debug)]
pub(crate) struct ByChannel {
    places: Vec<u32>,
    starts: Vec<u32>,
}

impl ByChannel {
    /// The places of a channel that lie in a range.
    #[inline(always)]
    pub fn between(&self, channel: usize, range: Range<usize>) -> &[u32] {
        let places = self.places(channel);
        let before = |limit: usize| places.partition_point(|&place| (place as usize) < limit);
        &places[before(range.start)..before(range.end)]
    }

    /// The places of a channel.
    #[inline(always)]
    pub fn places(&self, channel: usize) -> &[u32] {
        &self.places[self.starts[channel] as usize..self.starts[channel + 1] as usize]
    }
}

/// The mask of an image in the layout of spikes, `[position][word]`. A bit is set if the mask keeps
/// the neuron.
pub(crate) struct Allowed {
    words: Vec<u16>,
    /// Words of a position.
    stride: usize,
}

impl Allowed {
    /// The masks of some images, given a mask with a row for each image of the batch.
    pub fn by_image(mask: MaskRows<'_>, images: Range<usize>, shape: Shape) -> Vec<Self> {
        images.into_par_iter().map(|image| Self::of(mask, image, shape)).collect()
    }

    /// The mask of one image. `shape` is the shape after the pooling.
    pub fn of(mask: MaskRows<'_>, image: usize, shape: Shape) -> Self {
        let positions = shape.positions();
        // Rounded up to the widest tile, because the last tile of a grid may reach beyond the
        // channels.
        let stride = shape.channels.next_multiple_of(128) / LANES;
        let mut words = vec![0; positions * stride];
        for channel in 0..shape.channels {
            for position in 0..positions {
                let kept = mask.keeps(image, channel * positions + position);
                words[position * stride + channel / LANES] |= u16::from(kept) << (channel % LANES);
            }
        }
        Self { words, stride }
    }

    /// The bits of word `word` of the channels at a position.
    #[inline(always)]
    pub fn word(&self, position: usize, word: usize) -> u16 {
        self.words[position * self.stride + word]
    }
}
