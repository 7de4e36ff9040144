//! Gradients of a site's membranes with tiles: those of its spikes come from what is behind it, one position
//! after the other, and go back in time as they come.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::neuron::Neurons;
use super::super::simd::LANES;
use super::super::site_grad::{Pending, fires_at};
use super::super::spikes::Grid;
use super::super::tape::{Kept, Part};
use super::delta::Cell;
use super::{Delta, FRAMES, GROUP};
use lasnn_core::simd::vectors;
use lasnn_core::vectorised;
use lasnn_gemm::memory::{Needed, Scratch, prefetch};
use lasnn_gemm::product::{Format, Job, TileTask, Tiles, tiled};
use lasnn_gemm::transpose::transpose;

/// Bytes of weights that a job takes for a position before the next one.
const CACHED: usize = 512 << 10;

/// A site on a map, some images of it.
pub(crate) struct SiteBack<'a> {
    pub grid: Grid,
    pub neurons: Neurons,
    pub images: usize,
    pub steps: usize,
    /// Derivatives of spikes, for how many images, and the first image of these.
    pub kept: (&'a Kept, usize, usize),
    pub pending: &'a Pending,
}

impl SiteBack<'_> {
    /// The gradients of its membranes.
    pub fn delta(&self) -> Delta {
        let mut delta = Delta::new(self.grid, self.images, self.steps);
        self.run(delta.cells().map(To::Delta));
        delta
    }

    /// Writes their sums over all steps, `[image][channel][position]`.
    pub fn sums(&self, maps: &mut [f32]) {
        let (shape, groups) = (self.grid.shape, self.grid.lanes().div_ceil(GROUP));
        // [position][group][image][lane of the group]
        let size_of_group = self.images * GROUP;
        let mut sums = Scratch::new(shape.positions() * groups * size_of_group);
        self.run(sums.chunks_exact_mut(size_of_group).map(To::Sums));
        maps.par_chunks_mut(shape.neurons()).enumerate().for_each(|(image, maps)| {
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
        let bytes =
            self.pending.behind.iter().filter_map(|behind| Some(behind.turned.as_ref()?.bytes()));
        let together = (CACHED / bytes.sum::<usize>().max(1)).clamp(1, groups);
        let chunks = groups.div_ceil(together);
        // Windows of positions that get the same from behind, if there is one size for all.
        let [rows, columns] = self.pending.behind.first().map_or([1, 1], |behind| behind.view.pool);
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
        tiled(Jobs { site: self, jobs });
    }
}

/// A group of lanes at a position, and where its gradients go.
struct Place<'a> {
    position: usize,
    group: usize,
    to: To<'a>,
}

enum To<'a> {
    Delta(Cell<'a>),
    /// `[image][lane of the group]`.
    Sums(&'a mut [f32]),
}

/// All of them.
struct Jobs<'a> {
    site: &'a SiteBack<'a>,
    jobs: Vec<Vec<Place<'a>>>,
}

impl Job for Jobs<'_> {
    type Output = ();

    fn run<F: Format>(self, format: F) {
        let Self { site, jobs } = self;
        jobs.into_par_iter().for_each(|places| format.with_tiles(Places { site, format, places }));
    }
}

/// Those of a job.
struct Places<'a, F> {
    site: &'a SiteBack<'a>,
    format: F,
    places: Vec<Place<'a>>,
}

/// What comes from behind: gradients `[frame][lane of the group]`, and of which position behind the view and
/// which group they are.
struct Found {
    of: Option<(usize, usize)>,
    gradients: Scratch,
}

impl<F: Format> TileTask for Places<'_, F> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { site, format, places } = self;
        let room = (site.images * site.steps).next_multiple_of(FRAMES);
        let found = |_| Found { of: None, gradients: Scratch::new(room * GROUP) };
        let mut found: Vec<Found> = site.pending.behind.iter().map(found).collect();
        // Where there is no frame, it stays zero.
        let mut deltas = Scratch::zeros(room * GROUP);
        let mut asked = vec![0; site.images * site.steps];
        for Place { position, group, to } in places {
            for (behind, found) in site.pending.behind.iter().zip(&mut found) {
                let seen = behind.view.position(site.grid.shape, position);
                let of = seen.map(|seen| (seen, group));
                if found.of == of {
                    continue;
                }
                found.of = of;
                let Some(place) = of else { continue };
                let to = &mut found.gradients;
                match &behind.turned {
                    Some(turned) if T::CHOOSES => {
                        site.ask(behind, place, &mut asked);
                        turned.some_sums(&mut tiles, &behind.delta, place, &asked, to);
                    }
                    Some(turned) => {
                        let frames = 0..behind.delta.rows.room;
                        turned.sums(&mut tiles, (&behind.delta, frames), place, to);
                    }
                    None => behind.delta.rows.read(place, to),
                }
            }
            let at = (position, group);
            vectors().dispatch(StepBack { site, at, found: &found, deltas: &mut deltas });
            match to {
                To::Delta(cell) => cell.write(format, &deltas),
                To::Sums(sums) => sum_steps(&deltas, site.steps, sums),
            }
        }
    }
}

vectorised! {
    /// Writes the sums over all steps, `[image][lane of the group]`, of `[frame][lane of the group]`.
    fn sum_steps<'a>(deltas: &'a [f32], steps: usize, sums: &'a mut [f32]) -> () {
        let images = deltas.chunks_exact(steps * GROUP);
        for (to, deltas) in sums.as_chunks_mut::<GROUP>().0.iter_mut().zip(images) {
            let mut sums = [0.0; GROUP];
            for delta in deltas.as_chunks::<GROUP>().0 {
                sums.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += delta);
            }
            *to = sums;
        }
    }
}

/// All steps of a group of lanes at a position.
struct StepBack<'a, 'b> {
    site: &'b SiteBack<'a>,
    at: (usize, usize),
    found: &'b [Found],
    /// `[frame][lane of the group]`.
    deltas: &'b mut [f32],
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
        let SiteBack { grid, neurons, images, steps, kept: (kept, batch, first), .. } = *self.site;
        let unit = neurons.unit();
        for half in 0..GROUP / LANES {
            let lane = group * GROUP + half * LANES;
            if lane >= grid.lanes() {
                continue;
            }
            let (terms, constant) = (self.terms(lane), self.constant(lane));
            let size = steps * grid.shape.positions() * grid.tile;
            for image in 0..images {
                let Part::Slopes(slopes) =
                    kept.part(lane / grid.tile * batch + first + image, size)
                else {
                    unreachable!("a pass that rounds keeps the derivatives of all spikes")
                };
                let mut delta = [0.0; LANES];
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
                    let here = &slopes[place + lane % grid.tile..][..LANES];
                    // The next position's, which no processor foresees, so far is one step from another.
                    prefetch(slopes, place + lane % grid.tile + grid.tile, Needed::Soon);
                    neurons.step_back_along(&mut delta, (here, unit), &gradient);
                    let frame = (image * steps + step) * GROUP + half * LANES;
                    self.deltas[frame..][..LANES].copy_from_slice(&delta);
                }
            }
        }
    }
}

impl<'b> StepBack<'_, 'b> {
    /// What is the same at all steps, from a lane of the first image on, and from one image to the next.
    fn constant(&self, lane: usize) -> Option<(&'b [f32], usize)> {
        let (grid, position) = (self.site.grid, self.at.0);
        let constant = self.site.pending.constant.as_ref()?;
        Some((&constant[position * grid.lanes() + lane..], grid.shape.positions() * grid.lanes()))
    }

    /// What is not, from a lane on.
    fn terms(&self, lane: usize) -> Vec<Term<'b>> {
        let (grid, position) = (self.site.grid, self.at.0);
        let lanes = grid.lanes();
        let mut terms = Vec::new();
        for part in &self.site.pending.by_step {
            let Some(seen) = part.view.position(grid.shape, position) else { continue };
            let pitch = part.view.shape(grid.shape).positions() * lanes;
            let (first, mask) = (seen * lanes + lane, part.mask.as_deref());
            terms.push(Term {
                gradients: &part.gradient[first..],
                pitch,
                scale: part.scale,
                mask: mask.map(|mask| (&mask[first..], pitch)),
            });
        }
        for (behind, found) in self.site.pending.behind.iter().zip(self.found) {
            let Some((seen, _)) = found.of else { continue };
            let pitch = behind.view.shape(grid.shape).positions() * lanes;
            let mask = behind.mask.as_deref();
            terms.push(Term {
                gradients: &found.gradients[lane % GROUP..],
                pitch: GROUP,
                scale: behind.scale,
                mask: mask.map(|mask| (&mask[seen * lanes + lane..], pitch)),
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
