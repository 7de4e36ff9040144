//! Membrane gradients of a layer on maps: back-propagation through time.
//!
//! The backward pass computes membrane potentials again, one row of a map at a time: from the
//! layer's currents where the tape holds these, else from the spikes that caused the currents.
//! Where the tape holds surrogate derivatives, no membrane potentials are needed.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::event::conv::{Feed, Unit};
use crate::f32::membrane_grad::MembraneGrad;
use crate::f32::spike_grads::{MapRow, SpikeGrads};
use crate::geometry::Padded;
use crate::neuron::Neurons;
use crate::spikes::Grid;
use crate::tape::{Part, SavedImages};
use lasnn_core::neuron::StepOrder;

/// A layer and the input of its neurons.
pub(crate) struct LayerPass<'a> {
    pub grid: Grid,
    pub neurons: Neurons,
    pub steps: usize,
    pub feeds: &'a [Feed<'a>],
    /// Currents that are equal at all steps, instead of `feeds`.
    pub constant: Option<&'a [f32]>,
    pub saved: SavedImages<'a>,
}

impl MembraneGrad {
    /// The gradient of a layer's membrane potentials; if `summed`, its sum over the steps.
    pub fn of(
        layer: &LayerPass<'_>,
        spike_grads: &SpikeGrads,
        padded: Padded,
        images: usize,
        summed: bool,
    ) -> Self {
        let grid = layer.grid;
        let steps = if summed { 1 } else { layer.steps };
        let size = steps * padded.positions() * grid.tile;
        let mut gradient = Scratch::new(grid.tiles() * images * size);
        gradient.par_chunks_mut(size).enumerate().for_each(|(index, gradient)| {
            match summed {
                true => gradient.fill(0.0),
                false => padded.clear_border(grid.tile, gradient),
            }
            vectors().dispatch(BackUnit {
                layer,
                spike_grads,
                padded,
                images,
                index,
                gradient,
                summed,
            });
        });
        Self { grid, padded, images, steps, gradient }
    }
}

/// The step at which the potential that the integration of `step` leaves decides about a spike;
/// `None` if the pass ends before.
#[inline(always)]
pub(crate) fn fires_at(neurons: Neurons, step: usize, steps: usize) -> Option<usize> {
    match neurons.step_order {
        StepOrder::IntegrateThenFire => Some(step),
        StepOrder::FireThenIntegrate => Some(step + 1).filter(|&next| next < steps),
    }
}

/// One image in one channel tile.
struct BackUnit<'a> {
    layer: &'a LayerPass<'a>,
    spike_grads: &'a SpikeGrads,
    padded: Padded,
    images: usize,
    /// The channel tile times the number of images, plus the image.
    index: usize,
    /// `[step][padded position][lane]`, or one step if `summed`.
    gradient: &'a mut [f32],
    summed: bool,
}

impl WithSimd for BackUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, spike_grads, padded, images, index, gradient, summed } = self;
        let LayerPass { grid, neurons, steps, feeds, constant, saved } = *layer;
        let mut unit = Unit::new(grid, index, images, feeds, constant);
        let (tile, image) = (index / images, index % images);
        let width = grid.shape.width * grid.tile;
        let saved = saved.part(tile, image, steps * grid.shape.height * width);
        let mut currents = vec![0.0; width];
        let mut potentials = vec![0.0; steps * width];
        let mut spike_grad = vec![0.0; width];
        for row in 0..grid.shape.height {
            let place = |step: usize| (step * grid.shape.height + row) * width;
            for step in 0..if matches!(saved, Part::SurrogateQ8(_)) { 0 } else { steps } {
                let (before, u) = potentials.split_at_mut(step * width);
                let u = &mut u[..width];
                match step {
                    0 => u.fill(0.0),
                    _ => u.copy_from_slice(&before[(step - 1) * width..]),
                }
                let currents = match saved {
                    Part::Currents(saved) => &saved[place(step)..][..width],
                    _ => unit.currents(simd, step, row, &mut currents),
                };
                neurons.integrate(simd, u, currents);
            }
            let mut membrane_grad = vec![0.0; width];
            for step in (0..steps).rev() {
                match fires_at(neurons, step, steps) {
                    Some(fires) => {
                        let at = MapRow { tile, row, image, frame: image * steps + fires };
                        spike_grads.row(grid, at, &mut spike_grad);
                    }
                    None => spike_grad.fill(0.0),
                }
                match saved {
                    Part::SurrogateQ8(saved) => {
                        let surrogate_q8 = &saved[place(step)..][..width];
                        neurons.step_back_q8(
                            &mut membrane_grad,
                            (surrogate_q8, neurons.q8_scale()),
                            &spike_grad,
                        );
                    }
                    _ => {
                        let u = &potentials[step * width..][..width];
                        neurons.step_back(&mut membrane_grad, u, &spike_grad);
                    }
                }
                let first = if summed { 0 } else { step * padded.positions() } + padded.row(row);
                let to = &mut gradient[first * grid.tile..][..width];
                match summed {
                    true => to
                        .iter_mut()
                        .zip(&membrane_grad)
                        .for_each(|(to, membrane_grad)| *to += membrane_grad),
                    false => to.copy_from_slice(&membrane_grad),
                }
            }
        }
    }
}
