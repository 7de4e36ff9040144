//! The pass back through sites on maps, some images at a time.
//!
//! Where a pass rounds, a site asks what is behind it for the gradients of its spikes (`tiles::SiteBack`);
//! elsewhere whoever is behind has left them, map by map.

use lasnn_gemm::product::is_tiled;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use lasnn_core::mask::MaskRows;
use lasnn_gemm::memory::{self, Scratch};

use super::super::circuit::{Call, Connection, Source};
use super::super::convolution::{Feed, events, feeds};
use super::super::geometry::{Geometry, Padded, Reached};
use super::super::input_grad;
use super::super::neuron::Reset;
use super::super::site_grad::{Pending, SiteGrad, SitePass};
use super::super::spikes::Spikes;
use super::super::tiles::{self, Behind, Delta, SiteBack, Turned};
use super::super::{sparse_input_grad, weight_grad};
use super::{Back, Origin, lanes};

/// Bytes of gradients on maps that a pass back holds at once, where one image is not more.
const HELD: usize = 64 << 20;

/// The gradients of a site's membranes, and the other form of them where somebody asks for it.
enum Deltas {
    Exact(SiteGrad, OnceCell<Delta>),
    Rounded(Arc<Delta>, Padded, OnceCell<SiteGrad>),
}

impl Deltas {
    fn exact(&self) -> &SiteGrad {
        match self {
            Self::Exact(exact, _) => exact,
            Self::Rounded(rounded, padded, exact) => exact.get_or_init(|| rounded.spread(*padded)),
        }
    }

    fn rounded(&self) -> &Delta {
        match self {
            Self::Exact(exact, rounded) => rounded.get_or_init(|| Delta::rounded(exact)),
            Self::Rounded(rounded, ..) => rounded,
        }
    }
}

/// A convolution between a site and one of its sources, for some images.
struct Convolution<'a> {
    source: &'a Source,
    spikes: &'a Spikes,
    /// Where they are listed already.
    feed: Option<&'a Feed<'a>>,
    geometry: Geometry,
    reached: Reached,
    weight: usize,
}

impl Back<'_> {
    /// All sites on maps.
    pub(super) fn maps(&mut self, sites: usize) {
        let call = self.call;
        let per_image = |site: usize| {
            let grid = call.grid(site);
            2 * self.tape.steps * grid.lanes() * grid.shape.positions() * size_of::<f32>()
        };
        let largest = (0..sites).map(per_image).max().unwrap_or(1).max(1);
        let group = (HELD / largest).clamp(1, call.batch.max(1));
        let behind: Vec<Pending> = self.pending.drain(..sites).collect();
        let mut packed: Vec<Vec<f32>> = vec![Vec::new(); self.weights.len()];
        for first in (0..call.batch).step_by(group) {
            let images = first..call.batch.min(first + group);
            let mut pending: Vec<Pending> =
                behind.iter().map(|all| all.images(&images, call.batch)).collect();
            for site in (0..sites).rev() {
                self.site(site, &images, &mut pending, &mut packed);
            }
        }
        for site in 0..sites {
            let grid = call.grid(site);
            for source in &call.circuit.sites[site].sources {
                if let Connection::Conv { kernel, weight, .. } = source.connection {
                    let inputs = call.circuit.seen(source).channels;
                    let shape = (grid.shape.channels, inputs, kernel * kernel);
                    self.weights[weight] = weight_grad::unpack(&packed[weight], shape, grid.tile);
                }
            }
        }
    }

    /// One site, for some images.
    fn site(
        &mut self,
        site: usize,
        images: &Range<usize>,
        pending: &mut [Pending],
        packed: &mut [Vec<f32>],
    ) {
        let call = self.call;
        let grid = call.grid(site);
        let sources = &call.circuit.sites[site].sources;
        let masks = call.masks.iter().map(|mask| Some((*mask)?.some(images.clone())));
        let masks: Vec<Option<MaskRows<'_>>> = masks.collect();
        let part = Call { masks: &masks, batch: images.len(), ..*call };
        let spikes: Vec<Cow<'_, Spikes>> = sources
            .iter()
            .map(|source| self.tape.spikes(source.origin).images(images.clone()))
            .collect();
        let from: Vec<&Spikes> = spikes.iter().map(|spikes| &**spikes).collect();
        let kept = &self.tape.kept[site];
        let feeds = match kept.is_nothing() {
            true => feeds(&part, sources, grid, &from),
            false => Vec::new(),
        };
        let reach = |source: &Source| match source.connection {
            Connection::Conv { kernel, .. } => kernel / 2,
            _ => 0,
        };
        let border = sources.iter().map(reach).max().unwrap_or(0);
        let padded = Padded { shape: grid.shape, border };
        let gradient = std::mem::take(&mut pending[site]);
        let Some(deltas) = self.deltas(site, images, &gradient, padded, &feeds) else { return };
        drop(gradient);
        for (index, (source, spikes)) in sources.iter().zip(from).enumerate() {
            let convolution = match source.connection {
                Connection::Conv { kernel, stride, weight } => {
                    let geometry = Geometry::new(call.circuit.seen(source), padded, kernel, stride);
                    let reached = geometry.reached(padded, kernel * kernel);
                    let feed = feeds.get(index);
                    Some(Convolution { source, spikes, feed, geometry, reached, weight })
                }
                _ => None,
            };
            if let Some(convolution) = &convolution {
                let packed = &mut packed[convolution.weight];
                convolution.learn(&part, &deltas, grid.lanes(), packed);
            }
            let Origin::Site(origin) = source.origin else { continue };
            let lanes = lanes(call, source.origin);
            if let Deltas::Rounded(delta, ..) = &deltas {
                pending[origin].behind.push(Behind {
                    delta: Arc::clone(delta),
                    view: source.view,
                    scale: call.scale(source),
                    mask: self.silenced(source, images.clone()),
                    turned: convolution.map(|convolution| convolution.turned(call, lanes, delta)),
                });
                continue;
            }
            let to_origin = match convolution {
                Some(convolution) => convolution.to_origin(call, site, lanes, &deltas),
                None => identity(deltas.exact(), lanes),
            };
            let part = self.by_step(source, to_origin, images.clone(), false);
            pending[origin].by_step.push(part);
        }
    }

    /// The gradients of a site's membranes; nothing where it has no sources, only currents from outside,
    /// whose gradients are taken down.
    fn deltas(
        &mut self,
        site: usize,
        images: &Range<usize>,
        pending: &Pending,
        padded: Padded,
        feeds: &[Feed<'_>],
    ) -> Option<Deltas> {
        let (call, steps, grid) = (self.call, self.tape.steps, self.call.grid(site));
        let neurons = call.neurons[site];
        let kept = (&self.tape.kept[site], call.batch, images.start);
        let is_first = call.circuit.sites[site].sources.is_empty();
        if call.is_rough() {
            let site = SiteBack { grid, neurons, images: images.len(), steps, kept, pending };
            if is_first {
                site.sums(self.currents_of(images, grid.shape.neurons()));
                return None;
            }
            return Some(Deltas::Rounded(Arc::new(site.delta()), padded, OnceCell::new()));
        }
        let constant = self.tape.constant.as_ref().filter(|_| is_first);
        let constant = constant.map(|all| of_tiles(all, call.batch, images, grid.tiles()));
        let constant = constant.as_deref();
        let site = SitePass { grid, neurons, steps, feeds, constant, kept };
        let exact = SiteGrad::of(&site, pending, padded, images.len(), is_first);
        if is_first {
            by_channel(&exact, self.currents_of(images, grid.shape.neurons()));
            return None;
        }
        Some(Deltas::Exact(exact, OnceCell::new()))
    }

    /// Where the gradients of the currents of some images go.
    fn currents_of(&mut self, images: &Range<usize>, neurons: usize) -> &mut [f32] {
        // All of it is written, some images after the others.
        let all = self.currents.get_or_insert_with(|| memory::take(self.call.batch * neurons));
        &mut all[images.start * neurons..images.end * neurons]
    }
}

impl Convolution<'_> {
    /// Adds the gradient of the weights of so many output lanes, `[tile][input][tap][output of the tile]`.
    fn learn(&self, part: &Call<'_>, deltas: &Deltas, lanes: usize, packed: &mut Vec<f32>) {
        let Self { source, spikes, geometry, reached, .. } = self;
        let seen = part.circuit.seen(source);
        let shape = (seen.channels, reached.len());
        packed.resize(lanes * shape.0 * shape.1, 0.0);
        let (scale, mask) = (part.scale(source), part.mask(source));
        let dense = tiles::WeightGrad { spikes, view: &source.view, mask, reached, scale };
        if dense.worth_it(part.precision) {
            dense.add_to(packed, deltas.rounded());
        } else {
            let events = match self.feed {
                Some(feed) => Cow::Borrowed(&feed.events),
                None => Cow::Owned(events(spikes, source, mask)),
            };
            weight_grad::convolution(packed, &events, deltas.exact(), geometry, shape, scale);
        }
    }

    fn shape(&self, call: &Call<'_>, lanes: usize) -> input_grad::Shape {
        let inputs = call.circuit.seen(self.source).channels;
        input_grad::Shape { inputs, taps: self.reached.len(), lanes }
    }

    /// The same convolution from outputs to inputs.
    fn turned(&self, call: &Call<'_>, lanes: usize, outputs: &Delta) -> Turned {
        let (weights, shape) = (call.weights[self.weight], self.shape(call, lanes));
        Turned::new(weights, shape, outputs, (&self.reached, self.geometry.bases.len()))
    }

    /// The gradient `[image][step][position][lane]` of the input spikes.
    fn to_origin(&self, call: &Call<'_>, site: usize, lanes: usize, deltas: &Deltas) -> Scratch {
        let Self { source, geometry, weight, .. } = self;
        let (weights, neurons, precision) =
            (call.weights[*weight], call.neurons[site], call.precision);
        let (shape, delta) = (self.shape(call, lanes), deltas.exact());
        // With tiles, hardly any share of changes is small enough.
        let carried = neurons.reset == Reset::Subtract && !is_tiled(precision);
        let sparse = carried.then(|| {
            let maps = (geometry, call.circuit.seen(source).width);
            sparse_input_grad::convolution(weights, shape, delta, maps, (neurons.leak, precision))
        });
        sparse
            .flatten()
            .unwrap_or_else(|| input_grad::convolution(weights, shape, delta, geometry, precision))
    }
}

/// The gradient of an identity: that of the membrane, `[image][step][position][lane]`.
fn identity(delta: &SiteGrad, lanes: usize) -> Scratch {
    let (grid, positions) = (delta.grid, delta.grid.shape.positions());
    let mut gradient = Scratch::zeros_together(delta.images * delta.steps * positions * lanes);
    gradient.par_chunks_mut(positions * lanes).enumerate().for_each(|(frame, gradient)| {
        for tile in 0..grid.tiles() {
            let columns = tile * grid.tile..lanes.min((tile + 1) * grid.tile);
            for (position, to) in gradient.chunks_exact_mut(lanes).enumerate() {
                if let Some(to) = to.get_mut(columns.clone()) {
                    to.copy_from_slice(&delta.lanes(tile, frame, position)[..columns.len()]);
                }
            }
        }
    });
    gradient
}

/// Writes the first step as `[image, channels, height, width]`.
fn by_channel(delta: &SiteGrad, maps: &mut [f32]) {
    let grid = delta.grid;
    let (channels, positions) = (grid.shape.channels, grid.shape.positions());
    maps.par_chunks_mut(positions).enumerate().for_each(|(index, map)| {
        let (image, channel) = (index / channels, index % channels);
        let from = delta.step(channel / grid.tile, image, 0);
        for (position, to) in map.iter_mut().enumerate() {
            let (y, x) = (position / grid.shape.width, position % grid.shape.width);
            *to = from[(delta.padded.row(y) + x) * grid.tile + channel % grid.tile];
        }
    });
}

/// Some images of `[tile][image][…]`.
pub(super) fn of_tiles<T: Copy>(
    all: &[T],
    batch: usize,
    images: &Range<usize>,
    tiles: usize,
) -> Vec<T> {
    let size = all.len() / (batch * tiles);
    let tile = |tile: &[T]| tile[images.start * size..images.end * size].to_vec();
    all.chunks_exact(batch * size).flat_map(tile).collect()
}
