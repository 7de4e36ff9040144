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
use crate::f32::spike_grads::SpikeGrads;
use crate::neuron::Neurons;
use crate::spikes::Grid;
use crate::tape::{Part, SavedImages};
use lasnn_core::simd::vectors;
use lasnn_core::vectorised;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{Format, FormatTask, TileTask, Tiles, with_tile_format};
use lasnn_gemm::transpose::transpose;

/// Bytes of weights that a job reads again at every position, so that they stay in the cache.
const CACHED: usize = 512 << 10;

/// A layer on maps, for some images.
pub(crate) struct Bptt<'a> {
    pub grid: Grid,
    pub neurons: Neurons,
    pub images: usize,
    pub steps: usize,
    /// The surrogate derivatives.
    pub saved: SavedImages<'a>,
    pub spike_grads: &'a SpikeGrads,
}

impl<'a> Bptt<'a> {
    /// The membrane gradients.
    pub fn membrane_grad(&self) -> RoundedMembraneGrad {
        let mut membrane_grad = RoundedMembraneGrad::new(self.grid, self.images, self.steps);
        self.run(membrane_grad.lane_groups_mut().map(To::Rounded));
        membrane_grad
    }

    /// Writes the sums of the membrane gradients over all steps, `[image][channel][position]`.
    pub fn sums(&self, maps: &mut [f32]) {
        let (shape, groups) = (self.grid.shape, self.grid.lanes().div_ceil(GROUP));
        // [position][group][image][lane of the group]
        let size_of_group = self.images * GROUP;
        let mut sums = Scratch::new(shape.positions() * groups * size_of_group);
        self.run(sums.chunks_exact_mut(size_of_group).map(To::Sums));
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
    fn run<'b>(&'b self, to: impl Iterator<Item = To<'b>>) {
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
        for (index, to) in to.enumerate() {
            let (position, group) = (index / groups, index % groups);
            let row = position / shape.width / rows;
            let at = LaneGroup { position, group };
            jobs[row * chunks + group / together].push(Target { at, to });
        }
        for targets in &mut jobs {
            targets
                .sort_by_key(|Target { at, .. }| (at.position % shape.width / columns, at.group));
        }
        with_tile_format(Jobs { layer: self, jobs });
    }

    /// The surrogate derivatives of an image in the channel tile of a lane, `[step][position][lane
    /// of the tile]`.
    #[inline(always)]
    fn surrogate_q8(&self, lane: usize, image: usize) -> &'a [u8] {
        let size = self.steps * self.grid.shape.positions() * self.grid.tile;
        match self.saved.part(lane / self.grid.tile, image, size) {
            Part::SurrogateQ8(surrogate_q8) => surrogate_q8,
            _ => unreachable!("a pass in bfloat16 saves the surrogate derivatives of all spikes"),
        }
    }
}

/// Where the gradients of a group go.
struct Target<'a> {
    at: LaneGroup,
    to: To<'a>,
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
        for Target { at, to } in targets {
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
            vectors().dispatch(StepBack { layer, at, found: &found, membrane_grads });
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
