//! The pass back through layers on maps, some images at a time.
//!
//! Where a pass rounds, a layer asks what is downstream it for the gradients of its spikes (`bf16::Bptt`);
//! elsewhere whoever is downstream has left them, map by map.

use lasnn_gemm::product::is_tiled;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use lasnn_core::mask::MaskRows;
use lasnn_gemm::memory::{self, Scratch};

use super::{Back, Presynaptic, lanes};
use crate::args::ForwardArgs;
use crate::bf16::{self, Bptt, Downstream, RoundedMembraneGrad, TransposedConv};
use crate::event::conv::{Feed, events, feeds};
use crate::event::weight_grad;
use crate::f32::bptt::{LayerPass, MembraneGrad, SpikeGrads};
use crate::f32::carried_input_grad;
use crate::f32::input_grad;
use crate::geometry::{Geometry, Padded, Reached};
use crate::graph::{Projection, Synapse};
use crate::spikes::Spikes;
use lasnn_core::neuron::Reset;

/// Bytes of gradients on maps that a pass back holds at once, where one image is not more.
const HELD: usize = 64 << 20;

/// The gradients of a layer's membranes, and the other form of them where somebody asks for it.
enum MembraneGrads {
    Exact(MembraneGrad, OnceCell<RoundedMembraneGrad>),
    Rounded(Arc<RoundedMembraneGrad>, Padded, OnceCell<MembraneGrad>),
}

impl MembraneGrads {
    fn exact(&self) -> &MembraneGrad {
        match self {
            Self::Exact(exact, _) => exact,
            Self::Rounded(rounded, padded, exact) => exact.get_or_init(|| rounded.spread(*padded)),
        }
    }

    fn rounded(&self) -> &RoundedMembraneGrad {
        match self {
            Self::Exact(exact, rounded) => {
                rounded.get_or_init(|| RoundedMembraneGrad::rounded(exact))
            }
            Self::Rounded(rounded, ..) => rounded,
        }
    }
}

/// A convolution between a layer and one of its projections, for some images.
struct Convolution<'a> {
    projection: &'a Projection,
    spikes: &'a Spikes,
    /// Where they are listed already.
    feed: Option<&'a Feed<'a>>,
    geometry: Geometry,
    reached: Reached,
    weight: usize,
}

impl Back<'_> {
    /// All layers on maps.
    pub(crate) fn maps(&mut self, layers: usize) {
        let args = self.args;
        let per_image = |layer: usize| {
            let grid = args.grid(layer);
            2 * self.tape.steps * grid.lanes() * grid.shape.positions() * size_of::<f32>()
        };
        let largest = (0..layers).map(per_image).max().unwrap_or(1).max(1);
        let group = (HELD / largest).clamp(1, args.batch.max(1));
        let downstream: Vec<SpikeGrads> = self.pending.drain(..layers).collect();
        let mut packed: Vec<Vec<f32>> = vec![Vec::new(); self.weights.len()];
        for first in (0..args.batch).step_by(group) {
            let images = first..args.batch.min(first + group);
            let mut pending: Vec<SpikeGrads> =
                downstream.iter().map(|all| all.images(&images, args.batch)).collect();
            for layer in (0..layers).rev() {
                self.layer(layer, &images, &mut pending, &mut packed);
            }
        }
        for layer in 0..layers {
            let grid = args.grid(layer);
            for projection in &args.graph.layers[layer].projections {
                if let Synapse::Conv { kernel, weight, .. } = projection.synapse {
                    let inputs = args.graph.pooled(projection).channels;
                    let shape = (grid.shape.channels, inputs, kernel * kernel);
                    self.weights[weight] = weight_grad::unpack(&packed[weight], shape, grid.tile);
                }
            }
        }
    }

    /// One layer, for some images.
    fn layer(
        &mut self,
        layer: usize,
        images: &Range<usize>,
        pending: &mut [SpikeGrads],
        packed: &mut [Vec<f32>],
    ) {
        let args = self.args;
        let grid = args.grid(layer);
        let projections = &args.graph.layers[layer].projections;
        let masks = args.masks.iter().map(|mask| Some((*mask)?.slice(images.clone())));
        let masks: Vec<Option<MaskRows<'_>>> = masks.collect();
        let part = ForwardArgs { masks: &masks, batch: images.len(), ..*args };
        let spikes: Vec<Cow<'_, Spikes>> = projections
            .iter()
            .map(|projection| self.tape.spikes(projection.presynaptic).images(images.clone()))
            .collect();
        let from: Vec<&Spikes> = spikes.iter().map(|spikes| &**spikes).collect();
        let saved = &self.tape.saved[layer];
        let feeds = match saved.is_nothing() {
            true => feeds(&part, projections, grid, &from),
            false => Vec::new(),
        };
        let reach = |projection: &Projection| match projection.synapse {
            Synapse::Conv { kernel, .. } => kernel / 2,
            _ => 0,
        };
        let border = projections.iter().map(reach).max().unwrap_or(0);
        let padded = Padded { shape: grid.shape, border };
        let gradient = std::mem::take(&mut pending[layer]);
        let Some(membrane_grads) = self.membrane_grads(layer, images, &gradient, padded, &feeds)
        else {
            return;
        };
        drop(gradient);
        for (index, (projection, spikes)) in projections.iter().zip(from).enumerate() {
            let convolution = match projection.synapse {
                Synapse::Conv { kernel, stride, weight } => {
                    let geometry =
                        Geometry::new(args.graph.pooled(projection), padded, kernel, stride);
                    let reached = geometry.reached(padded, kernel * kernel);
                    let feed = feeds.get(index);
                    Some(Convolution { projection, spikes, feed, geometry, reached, weight })
                }
                _ => None,
            };
            if let Some(convolution) = &convolution {
                let packed = &mut packed[convolution.weight];
                convolution.learn(&part, &membrane_grads, grid.lanes(), packed);
            }
            let Presynaptic::NeuronLayer(presynaptic) = projection.presynaptic else { continue };
            let lanes = lanes(args, projection.presynaptic);
            if let MembraneGrads::Rounded(membrane_grad, ..) = &membrane_grads {
                pending[presynaptic].downstream.push(Downstream {
                    membrane_grad: Arc::clone(membrane_grad),
                    pooling: projection.pooling,
                    scale: args.scale(projection),
                    mask: self.silenced(projection, images.clone()),
                    transposed_conv: convolution
                        .map(|convolution| convolution.transposed_conv(args, lanes, membrane_grad)),
                });
                continue;
            }
            let to_origin = match convolution {
                Some(convolution) => convolution.to_origin(args, layer, lanes, &membrane_grads),
                None => identity(membrane_grads.exact(), lanes),
            };
            let part = self.by_step(projection, to_origin, images.clone(), false);
            pending[presynaptic].by_step.push(part);
        }
    }

    /// The gradients of a layer's membranes; nothing where it has no projections, only currents from outside,
    /// whose gradients are taken down.
    fn membrane_grads(
        &mut self,
        layer: usize,
        images: &Range<usize>,
        pending: &SpikeGrads,
        padded: Padded,
        feeds: &[Feed<'_>],
    ) -> Option<MembraneGrads> {
        let (args, steps, grid) = (self.args, self.tape.steps, self.args.grid(layer));
        let neurons = args.neurons[layer];
        let saved = (&self.tape.saved[layer], args.batch, images.start);
        let is_first = args.graph.layers[layer].projections.is_empty();
        if args.uses_bf16() {
            let layer = Bptt { grid, neurons, images: images.len(), steps, saved, pending };
            if is_first {
                layer.sums(self.currents_of(images, grid.shape.len()));
                return None;
            }
            return Some(MembraneGrads::Rounded(
                Arc::new(layer.membrane_grad()),
                padded,
                OnceCell::new(),
            ));
        }
        let constant = self.tape.constant.as_ref().filter(|_| is_first);
        let constant = constant.map(|all| of_tiles(all, args.batch, images, grid.tiles()));
        let constant = constant.as_deref();
        let layer = LayerPass { grid, neurons, steps, feeds, constant, saved };
        let exact = MembraneGrad::of(&layer, pending, padded, images.len(), is_first);
        if is_first {
            by_channel(&exact, self.currents_of(images, grid.shape.len()));
            return None;
        }
        Some(MembraneGrads::Exact(exact, OnceCell::new()))
    }

    /// Where the gradients of the currents of some images go.
    fn currents_of(&mut self, images: &Range<usize>, neurons: usize) -> &mut [f32] {
        // All of it is written, some images after the others.
        let all = self.currents.get_or_insert_with(|| memory::take(self.args.batch * neurons));
        &mut all[images.start * neurons..images.end * neurons]
    }
}

impl Convolution<'_> {
    /// Adds the gradient of the weights of so many output lanes, `[tile][input][tap][output of the tile]`.
    fn learn(
        &self,
        part: &ForwardArgs<'_>,
        membrane_grads: &MembraneGrads,
        lanes: usize,
        packed: &mut Vec<f32>,
    ) {
        let Self { projection, spikes, geometry, reached, .. } = self;
        let pooled = part.graph.pooled(projection);
        let shape = (pooled.channels, reached.len());
        packed.resize(lanes * shape.0 * shape.1, 0.0);
        let (scale, mask) = (part.scale(projection), part.mask(projection));
        let dense = bf16::WeightGrad { spikes, pooling: &projection.pooling, mask, reached, scale };
        if dense.worth_it(part.precision) {
            dense.add_to(packed, membrane_grads.rounded());
        } else {
            let events = match self.feed {
                Some(feed) => Cow::Borrowed(&feed.events),
                None => Cow::Owned(events(spikes, projection, mask)),
            };
            weight_grad::convolution(
                packed,
                &events,
                membrane_grads.exact(),
                geometry,
                shape,
                scale,
            );
        }
    }

    fn shape(&self, args: &ForwardArgs<'_>, lanes: usize) -> input_grad::Shape {
        let inputs = args.graph.pooled(self.projection).channels;
        input_grad::Shape { inputs, taps: self.reached.len(), lanes }
    }

    /// The same convolution from outputs to inputs.
    fn transposed_conv(
        &self,
        args: &ForwardArgs<'_>,
        lanes: usize,
        outputs: &RoundedMembraneGrad,
    ) -> TransposedConv {
        let (weights, shape) = (args.weights[self.weight], self.shape(args, lanes));
        TransposedConv::new(weights, shape, outputs, (&self.reached, self.geometry.bases.len()))
    }

    /// The gradient `[image][step][position][lane]` of the input spikes.
    fn to_origin(
        &self,
        args: &ForwardArgs<'_>,
        layer: usize,
        lanes: usize,
        membrane_grads: &MembraneGrads,
    ) -> Scratch {
        let Self { projection, geometry, weight, .. } = self;
        let (weights, neurons, precision) =
            (args.weights[*weight], args.neurons[layer], args.precision);
        let (shape, membrane_grad) = (self.shape(args, lanes), membrane_grads.exact());
        // With tiles, hardly any share of changes is small enough.
        let carried = neurons.reset == Reset::Subtract && !is_tiled(precision);
        let sparse = carried.then(|| {
            let maps = (geometry, args.graph.pooled(projection).width);
            carried_input_grad::convolution(
                weights,
                shape,
                membrane_grad,
                maps,
                (neurons.leak, precision),
            )
        });
        sparse.flatten().unwrap_or_else(|| {
            input_grad::convolution(weights, shape, membrane_grad, geometry, precision)
        })
    }
}

/// The gradient of an identity: that of the membrane, `[image][step][position][lane]`.
fn identity(membrane_grad: &MembraneGrad, lanes: usize) -> Scratch {
    let (grid, positions) = (membrane_grad.grid, membrane_grad.grid.shape.positions());
    let mut gradient =
        Scratch::zeros_parallel(membrane_grad.images * membrane_grad.steps * positions * lanes);
    gradient.par_chunks_mut(positions * lanes).enumerate().for_each(|(frame, gradient)| {
        for tile in 0..grid.tiles() {
            let columns = tile * grid.tile..lanes.min((tile + 1) * grid.tile);
            for (position, to) in gradient.chunks_exact_mut(lanes).enumerate() {
                if let Some(to) = to.get_mut(columns.clone()) {
                    to.copy_from_slice(
                        &membrane_grad.lanes(tile, frame, position)[..columns.len()],
                    );
                }
            }
        }
    });
    gradient
}

/// Writes the first step as `[image, channels, height, width]`.
fn by_channel(membrane_grad: &MembraneGrad, maps: &mut [f32]) {
    let grid = membrane_grad.grid;
    let (channels, positions) = (grid.shape.channels, grid.shape.positions());
    maps.par_chunks_mut(positions).enumerate().for_each(|(index, map)| {
        let (image, channel) = (index / channels, index % channels);
        let from = membrane_grad.step(channel / grid.tile, image, 0);
        for (position, to) in map.iter_mut().enumerate() {
            let (y, x) = (position / grid.shape.width, position % grid.shape.width);
            *to = from[(membrane_grad.padded.row(y) + x) * grid.tile + channel % grid.tile];
        }
    });
}

/// Some images of `[tile][image][…]`.
pub(crate) fn of_tiles<T: Copy>(
    all: &[T],
    batch: usize,
    images: &Range<usize>,
    tiles: usize,
) -> Vec<T> {
    let size = all.len() / (batch * tiles);
    let tile = |tile: &[T]| tile[images.start * size..images.end * size].to_vec();
    all.chunks_exact(batch * size).flat_map(tile).collect()
}
