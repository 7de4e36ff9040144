//! Membrane gradients of a layer on maps: back-propagation through time.
//!
//! The backward pass computes membrane potentials again, one row of a map at a time: from the
//! layer's currents where the tape holds these, else from the spikes that caused the currents.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::event::conv::{Feed, Unit};
use crate::f32::membrane_grad::MembraneGrad;
use crate::f32::spike_grads::{MapRow, SpikeGrads};
use crate::geometry::Padded;
use crate::neuron::LaneParams;
use crate::param_grads::{LayerGrads, Potentials, UnitSums};
use crate::spikes::{Grid, fires_at};
use crate::tape::{Part, SavedImages};

/// A layer and the input of its neurons.
pub(crate) struct LayerPass<'a> {
    pub grid: Grid,
    pub params: &'a LaneParams,
    pub steps: usize,
    pub feeds: &'a [Feed<'a>],
    /// Currents that are equal at all steps, instead of `feeds`.
    pub constant: Option<&'a [f32]>,
    pub saved: SavedImages<'a>,
}

impl MembraneGrad {
    /// The gradient of a layer's membrane potentials; if `summed`, its sum over the steps. Adds the
    /// gradients of the layer's parameters to `params`.
    pub fn of(
        layer: &LayerPass<'_>,
        spike_grads: &SpikeGrads,
        padded: Padded,
        (images, summed): (usize, bool),
        params: &mut LayerGrads,
    ) -> Self {
        let grid = layer.grid;
        let steps = if summed { 1 } else { layer.steps };
        let size = steps * padded.positions() * grid.tile;
        let mut gradient = Scratch::new(grid.tiles() * images * size);
        let wanted = params.wanted();
        let room = wanted.room(grid.tile, grid.shape.positions());
        let mut sums = vec![0.0; grid.tiles() * images * room];
        let units =
            gradient.par_chunks_mut(size).zip(split(&mut sums, room, grid.tiles() * images));
        units.enumerate().for_each(|(index, (gradient, sums))| {
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
                sums: UnitSums::new(wanted, grid.tile, sums),
            });
        });
        for (index, sums) in sums.chunks_exact_mut(room.max(1)).enumerate() {
            params.add(sums, grid.tile, (index / images * grid.tile, 0));
        }
        Self { grid, padded, images, steps, gradient }
    }
}

/// Cuts the sums of all units into those of each. They may be empty.
pub(crate) fn split(all: &mut [f32], room: usize, units: usize) -> Vec<&mut [f32]> {
    let mut rest = all;
    let mut parts = Vec::with_capacity(units);
    for _ in 0..units {
        let (part, left) = std::mem::take(&mut rest).split_at_mut(room);
        parts.push(part);
        rest = left;
    }
    parts
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
    sums: UnitSums<'a>,
}

impl WithSimd for BackUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, spike_grads, padded, images, index, gradient, summed, mut sums } = self;
        let LayerPass { grid, params, steps, feeds, constant, saved } = *layer;
        let mut unit = Unit::new(grid, index, images, (feeds, params), constant);
        let (tile, image) = (index / images, index % images);
        let (neurons, initial) = (params.tile(tile), params.initial_membrane(tile));
        let width = grid.shape.width * grid.tile;
        let saved = saved.part(tile, image, steps * grid.shape.height * width);
        let mut currents = vec![0.0; width];
        let (mut start, mut potentials) = (vec![0.0; width], vec![0.0; steps * width]);
        let mut spike_grad = vec![0.0; width];
        for row in 0..grid.shape.height {
            let place = |step: usize| (step * grid.shape.height + row) * width;
            let initial = initial.map(|initial| &initial[row * width..][..width]);
            match initial {
                Some(initial) => start.copy_from_slice(initial),
                None => start.fill(0.0),
            }
            for step in 0..steps {
                let (before, u) = potentials.split_at_mut(step * width);
                let u = &mut u[..width];
                match step {
                    0 => u.copy_from_slice(&start),
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
                match fires_at(neurons.options, step, steps) {
                    Some(fires) => {
                        let at = MapRow { tile, row, image, frame: image * steps + fires };
                        spike_grads.row(grid, at, &mut spike_grad);
                    }
                    None => spike_grad.fill(0.0),
                }
                let u = &potentials[step * width..][..width];
                neurons.step_back(&mut membrane_grad, u, &spike_grad);
                let at = MapRow { tile, row, image, frame: image * steps + step };
                spike_grads.add_membranes(grid, at, &mut membrane_grad);
                if !sums.is_empty() {
                    let before = match step {
                        0 => &start[..],
                        _ => &potentials[(step - 1) * width..][..width],
                    };
                    let (membrane_grad, grad) = (&membrane_grad[..], &spike_grad[..]);
                    sums.add(&neurons, Potentials { membrane_grad, u, before, grad });
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
            sums.add_initial(&neurons, &membrane_grad, initial, row * width);
        }
    }
}
