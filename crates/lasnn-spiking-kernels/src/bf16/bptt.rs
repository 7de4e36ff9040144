//! Gradients of a layer's membranes with tiles: those of its spikes come from what is downstream it, one position
//! after the other, and go back in time as they come.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::membrane_grad::Cell;
use super::{FRAMES, GROUP, RoundedMembraneGrad};
use crate::event::simd::LANES;
use crate::f32::bptt::{SpikeGrads, fires_at};
use crate::neuron::Neurons;
use crate::spikes::Grid;
use crate::tape::{Part, Saved};
use lasnn_core::simd::vectors;
use lasnn_core::vectorised;
use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};
use lasnn_gemm::product::{Format, FormatTask, TileTask, Tiles, with_tile_format};
use lasnn_gemm::transpose::transpose;

/// Bytes of weights that a job takes for a position before the next one.
const CACHED: usize = 512 << 10;

/// A layer on a map, some images of it.
pub(crate) struct Bptt<'a> {
    pub grid: Grid,
    pub neurons: Neurons,
    pub images: usize,
    pub steps: usize,
    /// Derivatives of spikes, for how many images, and the first image of these.
    pub saved: (&'a Saved, usize, usize),
    pub pending: &'a SpikeGrads,
}

impl Bptt<'_> {
    /// The gradients of its membranes.
    pub fn membrane_grad(&self) -> RoundedMembraneGrad {
        let mut membrane_grad = RoundedMembraneGrad::new(self.grid, self.images, self.steps);
        self.run(membrane_grad.cells().map(To::RoundedMembraneGrad));
        membrane_grad
    }

    /// Writes their sums over all steps, `[image][channel][position]`.
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

    /// Computes them for all groups of a position, one position after the other.
    fn run<'a>(&'a self, to: impl Iterator<Item = To<'a>>) {
        let (groups, shape) = (self.grid.lanes().div_ceil(GROUP), self.grid.shape);
        let bytes = self
            .pending
            .downstream
            .iter()
            .filter_map(|downstream| Some(downstream.transposed_conv.as_ref()?.bytes()));
        let together = (CACHED / bytes.sum::<usize>().max(1)).clamp(1, groups);
        let chunks = groups.div_ceil(together);
        // Windows of positions that get the same from downstream, if there is one size for all.
        let [rows, columns] =
            self.pending.downstream.first().map_or([1, 1], |downstream| downstream.pooling.pool);
        // A job is a row of windows with some groups.
        let mut jobs: Vec<Vec<Place<'_>>> = Vec::new();
        jobs.resize_with(shape.height.div_ceil(rows) * chunks, Vec::new);
        for (index, to) in to.enumerate() {
            let (position, group) = (index / groups, index % groups);
            let row = position / shape.width / rows;
            jobs[row * chunks + group / together].push(Place { position, group, to });
        }
        for places in &mut jobs {
            places.sort_by_key(|place| (place.position % shape.width / columns, place.group));
        }
        with_tile_format(Jobs { layer: self, jobs });
    }
}

/// A group of lanes at a position, and where its gradients go.
struct Place<'a> {
    position: usize,
    group: usize,
    to: To<'a>,
}

enum To<'a> {
    RoundedMembraneGrad(Cell<'a>),
    /// `[image][lane of the group]`.
    Sums(&'a mut [f32]),
}

/// All of them.
struct Jobs<'a> {
    layer: &'a Bptt<'a>,
    jobs: Vec<Vec<Place<'a>>>,
}

impl FormatTask for Jobs<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { layer, jobs } = self;
        jobs.into_par_iter().for_each(|places| format.with_tiles(Places { layer, format, places }));
    }
}

/// Those of a job.
struct Places<'a, F> {
    layer: &'a Bptt<'a>,
    format: F,
    places: Vec<Place<'a>>,
}

/// What comes from downstream: gradients `[frame][lane of the group]`, and of which position downstream the pooling and
/// which group they are.
struct Found {
    of: Option<(usize, usize)>,
    gradients: Scratch,
}

impl<F: Format> TileTask for Places<'_, F> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { layer, format, places } = self;
        let room = (layer.images * layer.steps).next_multiple_of(FRAMES);
        let found = |_| Found { of: None, gradients: Scratch::new(room * GROUP) };
        let mut found: Vec<Found> = layer.pending.downstream.iter().map(found).collect();
        // Where there is no frame, it stays zero.
        let mut membrane_grads = Scratch::zeros(room * GROUP);
        let mut needed = vec![0; layer.images * layer.steps];
        for Place { position, group, to } in places {
            for (downstream, found) in layer.pending.downstream.iter().zip(&mut found) {
                let pooled = downstream.pooling.position(layer.grid.shape, position);
                let of = pooled.map(|pooled| (pooled, group));
                if found.of == of {
                    continue;
                }
                found.of = of;
                let Some(place) = of else { continue };
                let to = &mut found.gradients;
                match &downstream.transposed_conv {
                    Some(transposed_conv) if T::HAS_MASKED_PRODUCT => {
                        layer.mark_needed(downstream, place, &mut needed);
                        transposed_conv.masked_product(
                            &mut tiles,
                            &downstream.membrane_grad,
                            place,
                            &needed,
                            to,
                        );
                    }
                    Some(transposed_conv) => {
                        let frames = 0..downstream.membrane_grad.rows.room;
                        transposed_conv.sums(
                            &mut tiles,
                            (&downstream.membrane_grad, frames),
                            place,
                            to,
                        );
                    }
                    None => downstream.membrane_grad.rows.read(place, to),
                }
            }
            let at = (position, group);
            vectors().dispatch(StepBack {
                layer,
                at,
                found: &found,
                membrane_grads: &mut membrane_grads,
            });
            match to {
                To::RoundedMembraneGrad(cell) => cell.write(format, &membrane_grads),
                To::Sums(sums) => sum_steps(&membrane_grads, layer.steps, sums),
            }
        }
    }
}

vectorised! {
    /// Writes the sums over all steps, `[image][lane of the group]`, of `[frame][lane of the group]`.
    fn sum_steps<'a>(membrane_grads: &'a [f32], steps: usize, sums: &'a mut [f32]) -> () {
        let images = membrane_grads.chunks_exact(steps * GROUP);
        for (to, membrane_grads) in sums.as_chunks_mut::<GROUP>().0.iter_mut().zip(images) {
            let mut sums = [0.0; GROUP];
            for membrane_grad in membrane_grads.as_chunks::<GROUP>().0 {
                sums.iter_mut().zip(membrane_grad).for_each(|(sum, membrane_grad)| *sum += membrane_grad);
            }
            *to = sums;
        }
    }
}

/// All steps of a group of lanes at a position.
struct StepBack<'a, 'b> {
    layer: &'b Bptt<'a>,
    at: (usize, usize),
    found: &'b [Found],
    /// `[frame][lane of the group]`.
    membrane_grads: &'b mut [f32],
}

/// A part of the gradients of spikes.
struct Term<'a> {
    /// From the first one on, and from one frame to the next.
    gradients: &'a [f32],
    pitch: usize,
    scale: f32,
    /// The same of images.
    mask: Option<(&'a [f32], usize)>,
}

impl WithSimd for StepBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (position, group) = self.at;
        let Bptt { grid, neurons, images, steps, saved: (saved, batch, first), .. } = *self.layer;
        let unit = neurons.q8_scale();
        for half in 0..GROUP / LANES {
            let lane = group * GROUP + half * LANES;
            if lane >= grid.lanes() {
                continue;
            }
            let (terms, constant) = (self.terms(lane), self.constant(lane));
            let size = steps * grid.shape.positions() * grid.tile;
            for image in 0..images {
                let Part::SurrogateQ8(surrogate_q8) =
                    saved.part(lane / grid.tile * batch + first + image, size)
                else {
                    unreachable!("a pass that rounds save_policies the derivatives of all spikes")
                };
                let mut membrane_grad = [0.0; LANES];
                for step in (0..steps).rev() {
                    let mut gradient = [0.0; LANES];
                    if let Some(fires) = fires_at(neurons, step, steps) {
                        if let Some((constant, pitch)) = constant {
                            gradient.copy_from_slice(&constant[image * pitch..][..LANES]);
                        }
                        for term in &terms {
                            term.add(image * steps + fires, image, &mut gradient);
                        }
                    }
                    let place = (step * grid.shape.positions() + position) * grid.tile;
                    let here = &surrogate_q8[place + lane % grid.tile..][..LANES];
                    // The next position's, which no processor foresees, so far is one step from another.
                    prefetch(surrogate_q8, place + lane % grid.tile + grid.tile, CacheLevel::L2);
                    neurons.step_back_along(&mut membrane_grad, (here, unit), &gradient);
                    let frame = (image * steps + step) * GROUP + half * LANES;
                    self.membrane_grads[frame..][..LANES].copy_from_slice(&membrane_grad);
                }
            }
        }
    }
}

impl<'b> StepBack<'_, 'b> {
    /// What is the same at all steps, from a lane of the first image on, and from one image to the next.
    fn constant(&self, lane: usize) -> Option<(&'b [f32], usize)> {
        let (grid, position) = (self.layer.grid, self.at.0);
        let constant = self.layer.pending.constant.as_ref()?;
        Some((&constant[position * grid.lanes() + lane..], grid.shape.positions() * grid.lanes()))
    }

    /// What is not, from a lane on.
    fn terms(&self, lane: usize) -> Vec<Term<'b>> {
        let (grid, position) = (self.layer.grid, self.at.0);
        let lanes = grid.lanes();
        let mut terms = Vec::new();
        for part in &self.layer.pending.by_step {
            let Some(pooled) = part.pooling.position(grid.shape, position) else { continue };
            let pitch = part.pooling.shape(grid.shape).positions() * lanes;
            let (first, mask) = (pooled * lanes + lane, part.mask.as_deref());
            terms.push(Term {
                gradients: &part.gradient[first..],
                pitch,
                scale: part.scale,
                mask: mask.map(|mask| (&mask[first..], pitch)),
            });
        }
        for (downstream, found) in self.layer.pending.downstream.iter().zip(self.found) {
            let Some((pooled, _)) = found.of else { continue };
            let pitch = downstream.pooling.shape(grid.shape).positions() * lanes;
            let mask = downstream.mask.as_deref();
            terms.push(Term {
                gradients: &found.gradients[lane % GROUP..],
                pitch: GROUP,
                scale: downstream.scale,
                mask: mask.map(|mask| (&mask[pooled * lanes + lane..], pitch)),
            });
        }
        terms
    }
}

impl Term<'_> {
    #[inline(always)]
    fn add(&self, frame: usize, image: usize, to: &mut [f32; LANES]) {
        let from = &self.gradients[frame * self.pitch..][..LANES];
        match self.mask {
            Some((mask, pitch)) => {
                let mask = &mask[image * pitch..][..LANES];
                for ((to, &from), &mask) in to.iter_mut().zip(from).zip(mask) {
                    *to += self.scale * mask * from;
                }
            }
            None => to.iter_mut().zip(from).for_each(|(to, &from)| *to += self.scale * from),
        }
    }
}
