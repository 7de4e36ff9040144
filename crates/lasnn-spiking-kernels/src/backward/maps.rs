//! The backward pass through layers on feature maps, some images at a time.
//!
//! A pass that rounds to bfloat16 pulls: a layer computes the gradients of its spikes from the
//! membrane gradients of the layers downstream (`bf16::Bptt`). A pass in single precision pushes:
//! the layers downstream leave the gradients of the spikes in `pending`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use lasnn_core::mask::MaskRows;
use lasnn_gemm::memory;

use super::conv::Convolution;
use super::membrane_grads::{MembraneGrads, first_step, identity_input_grad};
use super::{BackwardPass, lanes};
use crate::args::ForwardArgs;
use crate::bf16::{Bptt, Downstream};
use crate::event::conv::Feed;
use crate::event::weight_grad;
use crate::f32::bptt::LayerPass;
use crate::f32::membrane_grad::MembraneGrad;
use crate::f32::spike_grads::SpikeGrads;
use crate::geometry::{Geometry, Padded};
use crate::graph::{Presynaptic, Projection, Synapse};
use crate::neuron::LaneParams;
use crate::param_grads::{LayerGrads, Wanted};
use crate::spikes::Spikes;
use crate::tape::SavedImages;

/// Bytes of gradients on feature maps that the pass holds at once, unless one image takes more.
const HELD: usize = 64 << 20;

impl BackwardPass<'_> {
    /// The first `layers` layers.
    pub(super) fn maps(&mut self, layers: usize) {
        let args = self.args;
        let per_image = |layer: usize| {
            let grid = args.grid(layer);
            2 * self.tape.steps * grid.lanes() * grid.shape.positions() * size_of::<f32>()
        };
        let largest = (0..layers).map(per_image).max().unwrap_or(1).max(1);
        let group = (HELD / largest).clamp(1, args.batch.max(1));
        let downstream: Vec<SpikeGrads> = self.pending.drain(..layers).collect();
        let mut packed: Vec<Vec<f32>> = vec![Vec::new(); self.params.len()];
        let grads = |layer: usize| LayerGrads::new(Wanted::of(args, layer), args.grid(layer));
        let mut layer_grads: Vec<LayerGrads> = (0..layers).map(grads).collect();
        for first in (0..args.batch).step_by(group) {
            let images = first..args.batch.min(first + group);
            let mut pending: Vec<SpikeGrads> =
                downstream.iter().map(|all| all.images(&images, args.batch)).collect();
            for layer in (0..layers).rev() {
                let grads = (&mut packed[..], &mut layer_grads[layer]);
                self.layer(layer, &images, &mut pending, grads);
            }
        }
        for (layer, grads) in layer_grads.iter().enumerate() {
            let grid = args.grid(layer);
            grads.add_to(&mut self.params, args, layer);
            for projection in &args.graph.layers[layer].projections {
                if let Synapse::Conv { kernel, weight, .. } = projection.synapse
                    && args.is_trained(weight)
                {
                    let inputs = args.graph.pooled(projection).channels;
                    let shape = (grid.shape.channels, inputs, kernel * kernel);
                    self.params[weight] = weight_grad::unpack(&packed[weight], shape, grid.tile);
                }
            }
        }
    }

    /// One layer, for some images: adds its weight gradients to `packed`, the gradients of its
    /// other parameters to `layer_grads`, and its gradients of presynaptic spikes to `pending`.
    fn layer(
        &mut self,
        layer: usize,
        images: &Range<usize>,
        pending: &mut [SpikeGrads],
        (packed, layer_grads): (&mut [Vec<f32>], &mut LayerGrads),
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
        let feeds = match self.tape.saved[layer].is_nothing() {
            true => part.feeds(projections, grid, &from),
            false => Vec::new(),
        };
        let reach = |projection: &Projection| match projection.synapse {
            Synapse::Conv { kernel, .. } => kernel / 2,
            _ => 0,
        };
        let border = projections.iter().map(reach).max().unwrap_or(0);
        let padded = Padded { shape: grid.shape, border };
        let spike_grads = std::mem::take(&mut pending[layer]);
        let operands = (&spike_grads, &feeds[..]);
        let Some(membrane_grads) =
            self.membrane_grads(layer, images, operands, padded, layer_grads)
        else {
            return;
        };
        drop(spike_grads);
        for (index, (projection, spikes)) in projections.iter().zip(from).enumerate() {
            let convolution = match projection.synapse {
                Synapse::Conv { kernel, stride, weight } => {
                    let pooled = args.graph.pooled(projection);
                    let geometry = Geometry::new(pooled, padded, kernel, stride);
                    let reached = geometry.reached(padded, kernel * kernel);
                    let feed = feeds.get(index);
                    Some(Convolution { projection, spikes, feed, geometry, reached, weight })
                }
                _ => None,
            };
            if let Some(convolution) = &convolution
                && args.is_trained(convolution.weight)
            {
                let packed = &mut packed[convolution.weight];
                convolution.add_weight_grad(&part, &membrane_grads, grid.lanes(), packed);
            }
            let Presynaptic::NeuronLayer(presynaptic) = projection.presynaptic else { continue };
            let lanes = lanes(args, projection.presynaptic);
            if let MembraneGrads::Rounded(membrane_grad, ..) = &membrane_grads {
                pending[presynaptic].downstream.push(Downstream {
                    membrane_grad: Arc::clone(membrane_grad),
                    pooling: projection.pooling,
                    scale: args.scale(projection),
                    mask: self.mask_factors(projection, images.clone()),
                    transposed_conv: convolution
                        .map(|convolution| convolution.transposed_conv(args, lanes, membrane_grad)),
                });
                continue;
            }
            let input_grad = match convolution {
                Some(convolution) => convolution.input_grad(args, layer, lanes, &membrane_grads),
                None => identity_input_grad(membrane_grads.exact(), lanes),
            };
            let by_step = self.by_step(projection, input_grad, images.clone(), false);
            pending[presynaptic].by_step.push(by_step);
        }
    }

    /// The membrane gradients of a layer. A layer without projections has none to pass on: it
    /// writes the gradients of its currents from outside and returns `None`.
    fn membrane_grads(
        &mut self,
        layer: usize,
        images: &Range<usize>,
        (spike_grads, feeds): (&SpikeGrads, &[Feed<'_>]),
        padded: Padded,
        layer_grads: &mut LayerGrads,
    ) -> Option<MembraneGrads> {
        let (args, steps, grid) = (self.args, self.tape.steps, self.args.grid(layer));
        let params = &LaneParams::of(args, layer);
        let spikes = &self.tape.layers[layer];
        let saved = &self.tape.saved[layer];
        let saved = SavedImages { saved, batch: args.batch, first: images.start };
        let is_driven = args.graph.layers[layer].projections.is_empty();
        if args.uses_bf16() {
            let images_here = images.len();
            let layer =
                Bptt { grid, params, images: images_here, steps, saved, spikes, spike_grads };
            if is_driven {
                layer.sums(self.current_grads(images, grid.shape.len()), layer_grads);
                return None;
            }
            let rounded = Arc::new(layer.membrane_grad(layer_grads));
            return Some(MembraneGrads::Rounded(rounded, padded, OnceCell::new()));
        }
        let constant = self.tape.constant.as_ref().filter(|_| is_driven);
        let constant = constant.map(|all| images_of(all, args.batch, images, grid.tiles()));
        let constant = constant.as_deref();
        let layer = LayerPass { grid, params, steps, feeds, constant, saved };
        let size = (images.len(), is_driven);
        let exact = MembraneGrad::of(&layer, spike_grads, padded, size, layer_grads);
        if is_driven {
            first_step(&exact, self.current_grads(images, grid.shape.len()));
            return None;
        }
        Some(MembraneGrads::Exact(exact, OnceCell::new()))
    }

    /// The gradients with respect to the currents of some images from outside, to be written.
    fn current_grads(&mut self, images: &Range<usize>, neurons: usize) -> &mut [f32] {
        // Every number is written, because all images are visited.
        let all = self.currents.get_or_insert_with(|| memory::take(self.args.batch * neurons));
        &mut all[images.start * neurons..images.end * neurons]
    }
}

/// Some images of `[tile][image][…]`.
fn images_of<T: Copy>(all: &[T], batch: usize, images: &Range<usize>, tiles: usize) -> Vec<T> {
    let size = all.len() / (batch * tiles);
    let tile = |tile: &[T]| tile[images.start * size..images.end * size].to_vec();
    all.chunks_exact(batch * size).flat_map(tile).collect()
}
