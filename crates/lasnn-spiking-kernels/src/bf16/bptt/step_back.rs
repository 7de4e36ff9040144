//! The step back through time of one group of lanes.

use pulp::{Simd, WithSimd};

use super::Bptt;
use crate::bf16::GROUP;
use crate::bf16::frames::LaneGroup;
use crate::event::simd::LANES;
use crate::f32::bptt::fires_at;
use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};

/// The spike gradients that one projection downstream contributes.
pub(super) struct FromDownstream {
    /// The pooled position and the group that `gradients` belong to; `None` where the pooling cuts
    /// the position off.
    pub at: Option<LaneGroup>,
    /// `[frame][lane of the group]`.
    pub gradients: Scratch,
}

/// Takes the gradients of a group back through all steps.
pub(super) struct StepBack<'a, 'b> {
    pub layer: &'b Bptt<'a>,
    pub at: LaneGroup,
    /// By projection downstream.
    pub found: &'b [FromDownstream],
    /// `[frame][lane of the group]`.
    pub membrane_grads: &'b mut [f32],
}

impl WithSimd for StepBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let LaneGroup { position, group } = self.at;
        let Bptt { grid, neurons, images, steps, .. } = *self.layer;
        let q8_scale = neurons.q8_scale();
        for half in 0..GROUP / LANES {
            let lane = group * GROUP + half * LANES;
            if lane >= grid.lanes() {
                continue;
            }
            let (terms, constant) = (self.terms(lane), self.constant(lane));
            for image in 0..images {
                let surrogate_q8 = self.layer.surrogate_q8(lane, image);
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
                    // The steps lie so far apart that no processor foresees that the next position
                    // follows.
                    prefetch(surrogate_q8, place + lane % grid.tile + grid.tile, CacheLevel::L2);
                    neurons.step_back_q8(&mut membrane_grad, (here, q8_scale), &gradient);
                    let frame = (image * steps + step) * GROUP + half * LANES;
                    self.membrane_grads[frame..][..LANES].copy_from_slice(&membrane_grad);
                }
            }
        }
    }
}

/// A part of the spike gradients, from a lane on.
struct Term<'a> {
    gradients: &'a [f32],
    /// From one frame to the next.
    pitch: usize,
    scale: f32,
    /// 0 or 1, and how far the next image is.
    mask: Option<(&'a [f32], usize)>,
}

impl<'b> StepBack<'_, 'b> {
    /// The term that is equal at all steps, from a lane on, and how far the next image is.
    fn constant(&self, lane: usize) -> Option<(&'b [f32], usize)> {
        let (grid, position) = (self.layer.grid, self.at.position);
        let constant = self.layer.spike_grads.constant.as_ref()?;
        Some((&constant[position * grid.lanes() + lane..], grid.shape.positions() * grid.lanes()))
    }

    /// The terms that differ from step to step.
    fn terms(&self, lane: usize) -> Vec<Term<'b>> {
        let (grid, position) = (self.layer.grid, self.at.position);
        let lanes = grid.lanes();
        let mut terms = Vec::new();
        for part in &self.layer.spike_grads.by_step {
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
        for (downstream, found) in self.layer.spike_grads.downstream.iter().zip(self.found) {
            let Some(LaneGroup { position: pooled, .. }) = found.at else { continue };
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
