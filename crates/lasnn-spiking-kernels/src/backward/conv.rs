//! The gradients of one convolution, for some images.

use std::borrow::Cow;

use lasnn_core::neuron::Reset;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::is_tiled;

use super::membrane_grads::MembraneGrads;
use crate::args::ForwardArgs;
use crate::bf16::{self, RoundedMembraneGrad, TransposedConv};
use crate::event::conv::Feed;
use crate::event::weight_grad;
use crate::f32::carried_input_grad;
use crate::f32::input_grad;
use crate::geometry::{ConvShape, Geometry, Reached};
use crate::graph::Projection;
use crate::spikes::Spikes;

/// A convolution of a layer and the spikes that went into it.
pub(super) struct Convolution<'a> {
    pub projection: &'a Projection,
    pub spikes: &'a Spikes,
    /// Lists of the spikes, if they were made to compute currents again.
    pub feed: Option<&'a Feed<'a>>,
    pub geometry: Geometry,
    pub reached: Reached,
    pub weight: usize,
}

impl Convolution<'_> {
    /// Adds the weight gradient to `packed`, `[tile][input][tap][output of the tile]` with `lanes`
    /// output lanes. `args` has the masks of the same images.
    ///
    /// It is a dense product of rounded gradients or a sum over events, whichever is faster.
    pub fn add_weight_grad(
        &self,
        args: &ForwardArgs<'_>,
        membrane_grads: &MembraneGrads,
        lanes: usize,
        packed: &mut Vec<f32>,
    ) {
        let Self { projection, spikes, geometry, reached, .. } = self;
        let pooled = args.graph.pooled(projection);
        let shape = (pooled.channels, reached.len());
        packed.resize(lanes * shape.0 * shape.1, 0.0);
        let (scale, mask) = (args.scale(projection), args.mask(projection));
        let dense = bf16::WeightGrad { spikes, pooling: &projection.pooling, mask, reached, scale };
        if dense.worth_it(args.precision) {
            dense.add_to(packed, membrane_grads.rounded());
        } else {
            let events = match self.feed {
                Some(feed) => Cow::Borrowed(&feed.events),
                None => Cow::Owned(args.events(projection, spikes)),
            };
            let exact = membrane_grads.exact();
            weight_grad::convolution(packed, &events, exact, geometry, shape, scale);
        }
    }

    /// The transposed convolution, which takes membrane gradients to spike gradients with `lanes`
    /// lanes.
    pub fn transposed_conv(
        &self,
        args: &ForwardArgs<'_>,
        lanes: usize,
        outputs: &RoundedMembraneGrad,
    ) -> TransposedConv {
        let (weights, shape) = (args.params[self.weight], self.shape(args, lanes));
        TransposedConv::new(weights, shape, outputs, (&self.reached, self.geometry.bases.len()))
    }

    /// The gradient with respect to the pooled spikes, `[image][step][pooled position][lane]` with
    /// `lanes` lanes.
    pub fn input_grad(
        &self,
        args: &ForwardArgs<'_>,
        layer: usize,
        lanes: usize,
        membrane_grads: &MembraneGrads,
    ) -> Scratch {
        let Self { projection, geometry, weight, .. } = self;
        let (weights, options, precision) =
            (args.params[*weight], args.neurons[layer], args.precision);
        let (shape, membrane_grad) = (self.shape(args, lanes), membrane_grads.exact());
        // The gradient can be carried from step to step if the reset subtracts. In tiles, dense
        // products are so fast that hardly any share of changes is small enough for it.
        let is_carried = options.reset == Reset::Subtract && !is_tiled(precision);
        let carried = is_carried.then(|| {
            let maps = (geometry, args.graph.pooled(projection).width);
            let leak = args.params[args.graph.layers[layer].params.leak][0];
            let leak = (leak, precision);
            carried_input_grad::convolution(weights, shape, membrane_grad, maps, leak)
        });
        carried.flatten().unwrap_or_else(|| {
            input_grad::convolution(weights, shape, membrane_grad, geometry, precision)
        })
    }

    fn shape(&self, args: &ForwardArgs<'_>, lanes: usize) -> ConvShape {
        let inputs = args.graph.pooled(self.projection).channels;
        ConvShape { inputs, taps: self.reached.len(), lanes }
    }
}
