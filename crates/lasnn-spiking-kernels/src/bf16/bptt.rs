//! Membrane gradients of a layer on maps, in bfloat16: back-propagation through time.
//!
//! At each position the layer sums the gradients of its spikes from the projections downstream,
//! takes them back through time and rounds them at once. So no map of spike gradients is stored.
//!
//! - `needed`: which spike gradients are needed,
//! - `step_back`: the steps back through time of some neurons.

mod needed;
mod step_back;

use rayon::prelude::*;

use self::step_back::{FromDownstream, StepBack};
use super::frames::LaneGroup;
use super::membrane_grad::LaneGroupMut;
use super::{FRAMES, GROUP, RoundedMembraneGrad};
use crate::event::simd::LANES;
use crate::f32::bptt::split;
use crate::f32::spike_grads::SpikeGrads;
use crate::neuron::LaneParams;
use crate::param_grads::{LayerGrads, UnitSums};
use crate::spikes::{Grid, Spikes};
use crate::tape::{Part, SavedImages};
use lasnn_core::simd::vectors;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, FormatTask, TileTask, Tiles, bf16_to_f32, with_tile_format};
use lasnn_gemm::transpose::transpose;

/// Bytes of weights that a job reads again at every position, so that they stay in the cache.
const CACHED: usize = 512 << 10;

/// A layer on maps, for some images.
pub(crate) struct Bptt<'a> {
    pub grid: Grid,
    pub params: &'a LaneParams,
    pub images: usize,
    pub steps: usize,
    /// The surrogate derivatives or the membrane potentials.
    pub saved: SavedImages<'a>,
    /// The spikes of the layer, for all images of the batch.
    pub spikes: &'a Spikes,
    pub spike_grads: &'a SpikeGrads,
}

impl<'a> Bptt<'a> {
    /// The membrane gradients. Adds the gradients of the layer's parameters to `params`.
    pub fn membrane_grad(&self, params: &mut LayerGrads) -> RoundedMembraneGrad {
        let mut membrane_grad = RoundedMembraneGrad::new(self.grid, self.images, self.steps);
        self.run(membrane_grad.lane_groups_mut().map(To::Rounded), params);
        membrane_grad
    }

    /// Writes the sums of the membrane gradients over all steps, `[image][channel][position]`. Adds
    /// the gradients of the layer's parameters to `params`.
    pub fn sums(&self, maps: &mut [f32], params: &mut LayerGrads) {
        let (shape, groups) = (self.grid.shape, self.grid.lanes().div_ceil(GROUP));
        // [position][group][image][lane of the group]
        let size_of_group = self.images * GROUP;
        let mut sums = Scratch::new(shape.positions() * groups * size_of_group);
        self.run(sums.chunks_exact_mut(size_of_group).map(To::Sums), params);
        maps.par_chunks_mut(shape.len()).enumerate().for_each(|(image, maps)| {
            for (group, maps) in maps.chunks_mut(GROUP * shape.positions()).enumerate() {
                let sums = &sums[(group * self.images + image) * GROUP..];
                let size = [shape.positions(), maps.len() / shape.positions()];
                transpose((sums, groups * size_of_group), (maps, shape.positions()), size);
            }
        });
    }

    /// Computes the gradients of each group at each position; `to` has them in this order, groups
    /// faster.
    fn run<'b>(&'b self, to: impl Iterator<Item = To<'b>>, params: &mut LayerGrads) {
        let (groups, shape) = (self.grid.lanes().div_ceil(GROUP), self.grid.shape);
        let downstream = &self.spike_grads.downstream;
        let bytes =
            downstream.iter().filter_map(|from| Some(from.transposed_conv.as_ref()?.bytes()));
        let together = (CACHED / bytes.sum::<usize>().max(1)).clamp(1, groups);
        let chunks = groups.div_ceil(together);
        // The positions of a pooling window receive the same gradient, so they follow one another.
        // If the projections pool differently, the windows of the others are computed repeatedly.
        let [rows, columns] = downstream.first().map_or([1, 1], |from| from.pooling.pool);
        // A job is a row of windows with some groups.
        let mut jobs: Vec<Vec<Target<'_>>> = Vec::new();
        jobs.resize_with(shape.height.div_ceil(rows) * chunks, Vec::new);
        let units = shape.positions() * groups;
        let (wanted, room) = (params.wanted(), params.wanted().room(GROUP, 1));
        let mut sums = vec![0.0; units * room];
        for (index, (to, sums)) in to.zip(split(&mut sums, room, units)).enumerate() {
            let (position, group) = (index / groups, index % groups);
            let row = position / shape.width / rows;
            let at = LaneGroup { position, group };
            let sums = UnitSums::new(wanted, GROUP, sums);
            jobs[row * chunks + group / together].push(Target { at, to, sums });
        }
        for targets in &mut jobs {
            targets
                .sort_by_key(|Target { at, .. }| (at.position % shape.width / columns, at.group));
        }
        with_tile_format(Jobs { layer: self, jobs });
        for (index, sums) in sums.chunks_exact_mut(room.max(1)).enumerate() {
            params.add(sums, GROUP, (index % groups * GROUP, index / groups));
        }
    }

    /// What the tape holds of an image in the channel tile of a lane, `[step][position][lane of the
    /// tile]`.
    #[inline(always)]
    fn saved(&self, lane: usize, image: usize) -> Part<'a> {
        let size = self.steps * self.grid.shape.positions() * self.grid.tile;
        self.saved.part(lane / self.grid.tile, image, size)
    }
}

/// The membrane potentials of [`LANES`] lanes from `place` on, as `f32`.
#[inline(always)]
fn widened(membranes: &[u16], place: usize) -> [f32; LANES] {
    let membranes = &membranes[place..][..LANES];
    std::array::from_fn(|lane| bf16_to_f32(membranes[lane]))
}

/// Where the gradients of a group go.
struct Target<'a> {
    at: LaneGroup,
    to: To<'a>,
    sums: UnitSums<'a>,
}

enum To<'a> {
    Rounded(LaneGroupMut<'a>),
    /// `[image][lane of the group]`.
    Sums(&'a mut [f32]),
}

struct Jobs<'a> {
    layer: &'a Bptt<'a>,
    jobs: Vec<Vec<Target<'a>>>,
}

impl FormatTask for Jobs<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { layer, jobs } = self;
        jobs.into_par_iter()
            .for_each(|targets| format.with_tiles(Targets { layer, format, targets }));
    }
}

/// The targets of one job.
struct Targets<'a, F> {
    layer: &'a Bptt<'a>,
    format: F,
    targets: Vec<Target<'a>>,
}

impl<F: Format> TileTask for Targets<'_, F> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { layer, format, targets } = self;
        let downstream = &layer.spike_grads.downstream;
        let room = (layer.images * layer.steps).next_multiple_of(FRAMES);
        let nothing = |_| FromDownstream { at: None, gradients: Scratch::new(room * GROUP) };
        let mut found: Vec<FromDownstream> = downstream.iter().map(nothing).collect();
        // Stays zero after the last frame.
        let mut membrane_grads = Scratch::zeros(room * GROUP);
        let mut needed = vec![0; layer.images * layer.steps];
        for Target { at, to, sums } in targets {
            for (downstream, found) in downstream.iter().zip(&mut found) {
                let pooled = downstream.pooling.position(layer.grid.shape, at.position);
                let pooled = pooled.map(|position| LaneGroup { position, ..at });
                if found.at == pooled {
                    continue;
                }
                found.at = pooled;
                let Some(pooled) = pooled else { continue };
                let (membrane_grad, to) = (&*downstream.membrane_grad, &mut found.gradients[..]);
                match &downstream.transposed_conv {
                    Some(transposed_conv) if T::HAS_MASKED_PRODUCT => {
                        layer.mark_needed(downstream, pooled, &mut needed);
                        transposed_conv.masked_product(
                            &mut tiles,
                            membrane_grad,
                            pooled,
                            &needed,
                            to,
                        );
                    }
                    Some(transposed_conv) => {
                        let frames = 0..membrane_grad.rows.room;
                        transposed_conv.product(&mut tiles, (membrane_grad, frames), pooled, to);
                    }
                    None => membrane_grad.rows.read(pooled, to),
                }
            }
            let membrane_grads = &mut membrane_grads[..];
            vectors().dispatch(StepBack { layer, at, found: &found, membrane_grads, sums });
            match to {
                To::Rounded(to) => to.write(format, membrane_grads),
                To::Sums(sums) => sum_steps(membrane_grads, layer.steps, sums),
            }
        }
    }
}

vectorised! {
    /// Sums gradients `[frame][lane of the group]` over all steps, `[image][lane of the group]`.
    fn sum_steps<'a>(membrane_grads: &'a [f32], steps: usize, sums: &'a mut [f32]) -> () {
        let images = membrane_grads.chunks_exact(steps * GROUP);
        for (to, image) in sums.as_chunks_mut::<GROUP>().0.iter_mut().zip(images) {
            let mut sums = [0.0; GROUP];
            for frame in image.as_chunks::<GROUP>().0 {
                sums.iter_mut().zip(frame).for_each(|(sum, gradient)| *sum += gradient);
            }
            *to = sums;
        }
    }
}
