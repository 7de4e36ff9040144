//! The step back through time of one group of lanes.

use pulp::{Simd, WithSimd};

use super::{Bptt, widened};
use crate::bf16::GROUP;
use crate::bf16::frames::LaneGroup;
use crate::event::simd::LANES;
use crate::f32::spike_grads::ByStep;
use crate::neuron::TileNeurons;
use crate::param_grads::{Derivatives, Potentials, UnitSums};
use crate::spikes::{fires_at, lanes_of};
use crate::tape::Part;
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
    /// The sums for the gradients of the layer's parameters, over the lanes of the group.
    pub sums: UnitSums<'b>,
}

impl WithSimd for StepBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for half in 0..GROUP / LANES {
            if self.at.group * GROUP + half * LANES >= self.layer.grid.lanes() {
                continue;
            }
            // Two loops, so that sums cost nothing where no parameter of a neuron is trained.
            match self.sums.is_empty() {
                true => self.lanes::<S, false>(simd, half),
                false => self.lanes::<S, true>(simd, half),
            }
        }
    }
}

impl StepBack<'_, '_> {
    /// Takes [`LANES`] lanes of the group back, and adds to the sums of parameters if `SUMS`.
    #[inline(always)]
    fn lanes<S: Simd, const SUMS: bool>(&mut self, simd: S, half: usize) {
        let LaneGroup { position, group } = self.at;
        let Bptt { grid, params, images, steps, .. } = *self.layer;
        let lane = group * GROUP + half * LANES;
        let (tile, of_tile) = (lane / grid.tile, lane % grid.tile);
        let neurons = params.tile(tile).lanes(of_tile..of_tile + LANES);
        // With lengths that the compiler knows, the loops below become vector operations.
        let (thresholds, q8_scales) = (lanes_of(neurons.thresholds), lanes_of(neurons.q8_scales));
        let neurons = TileNeurons { thresholds, q8_scales, ..neurons };
        let initial = params.initial_membrane(tile);
        let initial = initial.map(|u| &u[position * grid.tile + of_tile..][..LANES]);
        let (terms, constant) = (self.terms(lane), self.constant(lane));
        let membranes = self.layer.spike_grads.membranes.as_ref();
        let membranes = membranes.and_then(|membranes| self.term(membranes, lane));
        for image in 0..images {
            let saved = self.layer.saved(lane, image);
            let word = (tile, self.layer.saved.first + image, of_tile / LANES);
            let decided = |step| self.layer.spikes.decided(neurons.options, step, word, position);
            let constant = constant.map_or([0.0; LANES], |(constant, pitch)| {
                prefetch(constant, image * pitch + grid.lanes(), CacheLevel::L2);
                *lanes_of(&constant[image * pitch..])
            });
            let mut membrane_grad = [0.0; LANES];
            let mut fired = if SUMS { decided(steps - 1) } else { 0 };
            for step in (0..steps).rev() {
                let mut gradient = [0.0; LANES];
                if let Some(fires) = fires_at(neurons.options, step, steps) {
                    gradient = constant;
                    for term in &terms {
                        term.add(simd, image * steps + fires, image, &mut gradient);
                    }
                }
                let outside = |to: &mut [f32; LANES]| {
                    if let Some(term) = &membranes {
                        term.add(simd, image * steps + step, image, to);
                    }
                };
                let map = grid.shape.positions() * grid.tile;
                let place = step * map + position * grid.tile + of_tile;
                match saved {
                    Part::SurrogateQ8(all) => {
                        let surrogate_q8 = &all[place..][..LANES];
                        // The steps lie so far apart that no processor foresees that the next
                        // position follows.
                        prefetch(all, place + grid.tile, CacheLevel::L2);
                        let derivatives = lanes_of(surrogate_q8).map(f32::from);
                        let spike = (&gradient, q8_scales, &derivatives);
                        step_back_q8(simd, &mut membrane_grad, spike, neurons.leak);
                        outside(&mut membrane_grad);
                        if SUMS {
                            let fired_before = match step {
                                0 => initial.map_or(0, |u| neurons.fired(u)),
                                _ => decided(step - 1),
                            };
                            let derivatives = Derivatives {
                                membrane_grad: &membrane_grad,
                                surrogate_q8,
                                fired,
                                fired_before,
                                grad: &gradient,
                            };
                            fired = fired_before;
                            let lanes = half * LANES..(half + 1) * LANES;
                            self.sums.lanes(lanes).add_q8(&neurons, derivatives);
                        }
                    }
                    Part::MembraneBf16(all) => {
                        prefetch(all, place + grid.tile, CacheLevel::L2);
                        let u = &widened(all, place);
                        neurons.step_back(&mut membrane_grad, u, &gradient);
                        outside(&mut membrane_grad);
                        let before = match (step, initial) {
                            (0, None) => [0.0; LANES],
                            (0, Some(initial)) => std::array::from_fn(|lane| initial[lane]),
                            _ => widened(all, place - map),
                        };
                        let (membrane_grad, grad) = (&membrane_grad[..], &gradient[..]);
                        let step = Potentials { membrane_grad, u, before: &before, grad };
                        self.sums.lanes(half * LANES..(half + 1) * LANES).add(&neurons, step);
                    }
                    Part::Nothing | Part::Currents(_) => {
                        unreachable!("a pass in bfloat16 saves derivatives or potentials")
                    }
                }
                let frame = (image * steps + step) * GROUP + half * LANES;
                self.membrane_grads[frame..][..LANES].copy_from_slice(&membrane_grad);
            }
            if SUMS {
                self.sums.add_initial(&neurons, &membrane_grad, initial, half * LANES);
            }
        }
    }
}

/// `membrane_grad = gradient * (scale * derivative) + leak * membrane_grad`, with the derivative as
/// the tape holds it.
///
/// This and [`Term::add`] name the registers, because the compiler divides a loop over the lanes
/// into vectors of several sizes here, which cannot be loaded from memory right after they were
/// stored.
#[inline(always)]
fn step_back_q8<S: Simd>(
    simd: S,
    membrane_grad: &mut [f32; LANES],
    (gradient, scale, derivative): (&[f32; LANES], &[f32; LANES], &[f32; LANES]),
    leak: f32,
) {
    let leak = simd.splat_f32s(leak);
    let gradient = S::as_simd_f32s(gradient).0.iter();
    let scale = S::as_simd_f32s(scale).0.iter();
    let derivative = S::as_simd_f32s(derivative).0.iter();
    let lanes = gradient.zip(scale.zip(derivative));
    let membrane_grad = S::as_mut_simd_f32s(membrane_grad).0.iter_mut();
    for (membrane_grad, (&gradient, (&scale, &derivative))) in membrane_grad.zip(lanes) {
        let from_spike = simd.mul_f32s(gradient, simd.mul_f32s(scale, derivative));
        *membrane_grad = simd.add_f32s(from_spike, simd.mul_f32s(leak, *membrane_grad));
    }
}

/// A part of the gradients of spikes or of membrane potentials, from a lane on.
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

    /// The part of a gradient from a lane on; `None` where its pooling cuts the position off.
    fn term(&self, part: &'b ByStep, lane: usize) -> Option<Term<'b>> {
        let (grid, lanes) = (self.layer.grid, self.layer.grid.lanes());
        let pooled = part.pooling.position(grid.shape, self.at.position)?;
        let pitch = part.pooling.shape(grid.shape).positions() * lanes;
        let (first, mask) = (pooled * lanes + lane, part.mask.as_deref());
        let mask = mask.map(|mask| (&mask[first..], pitch));
        Some(Term { gradients: &part.gradient[first..], pitch, scale: part.scale, mask })
    }

    /// The terms that differ from step to step.
    fn terms(&self, lane: usize) -> Vec<Term<'b>> {
        let (grid, lanes) = (self.layer.grid, self.layer.grid.lanes());
        let by_step = self.layer.spike_grads.by_step.iter();
        let mut terms: Vec<Term<'b>> = by_step.filter_map(|part| self.term(part, lane)).collect();
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
    /// Adds the part of a frame.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, frame: usize, image: usize, to: &mut [f32; LANES]) {
        let from = S::as_simd_f32s(lanes_of(&self.gradients[frame * self.pitch..])).0;
        let to = S::as_mut_simd_f32s(to).0.iter_mut();
        let scale = simd.splat_f32s(self.scale);
        match self.mask {
            Some((mask, pitch)) => {
                let mask = S::as_simd_f32s(lanes_of(&mask[image * pitch..])).0;
                for ((to, &from), &mask) in to.zip(from).zip(mask) {
                    let masked = simd.mul_f32s(scale, mask);
                    *to = simd.add_f32s(*to, simd.mul_f32s(masked, from));
                }
            }
            None => {
                for (to, &from) in to.zip(from) {
                    *to = simd.add_f32s(*to, simd.mul_f32s(scale, from));
                }
            }
        }
    }
}
