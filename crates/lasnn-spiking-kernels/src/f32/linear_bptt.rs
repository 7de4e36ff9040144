//! Membrane gradients of a linear layer: back-propagation through time.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::bf16_to_f32;

use crate::currents::Matrix;
use crate::event::linear::{PANEL, TILE};
use crate::f32::bptt::split;
use crate::f32::spike_grads::{MapRow, SpikeGrads};
use crate::neuron::{LaneParams, TileNeurons};
use crate::param_grads::{Derivatives, LayerGrads, Potentials, UnitSums};
use crate::spikes::{Grid, LANES, Spikes, fires_at};
use crate::tape::{Part, Saved};

/// A linear layer and what the tape holds of it.
pub(crate) struct LinearPass<'a> {
    pub grid: Grid,
    pub params: &'a LaneParams,
    /// The matrix, from which the currents are computed again. It must be there where the tape
    /// holds nothing but spikes.
    pub matrix: Option<&'a Matrix<'a>>,
    pub saved: &'a Saved,
    /// The spikes of the layer.
    pub spikes: &'a Spikes,
    pub spike_grads: &'a SpikeGrads,
}

impl LinearPass<'_> {
    /// The gradient of the membrane potentials, `[channel tile][image][step][lane]`. Adds the
    /// gradients of the layer's parameters to `params`.
    pub fn membrane_grad(&self, params: &mut LayerGrads) -> Scratch {
        let (images, steps) = (self.spikes.batch, self.spikes.steps);
        let panel_size = PANEL * images * steps * TILE;
        let mut gradient = Scratch::new(self.grid.tiles() * images * steps * TILE);
        let (wanted, tiles) = (params.wanted(), self.grid.tiles());
        let room = wanted.room(TILE, 1);
        let mut sums = vec![0.0; tiles * room];
        let mut sums_of_tiles = split(&mut sums, room, tiles).into_iter();
        let sums_of_panels: Vec<Vec<UnitSums<'_>>> = (0..tiles.div_ceil(PANEL))
            .map(|_| {
                let tiles = sums_of_tiles.by_ref().take(PANEL);
                tiles.map(|numbers| UnitSums::new(wanted, TILE, numbers)).collect()
            })
            .collect();
        let panels = gradient.par_chunks_mut(panel_size).zip(sums_of_panels).enumerate();
        panels.for_each(|(panel, (gradient, sums))| {
            let saved = self.saved.part(panel, panel_size);
            vectors().dispatch(BackPanel { layer: self, saved, panel, gradient, sums });
        });
        for (tile, sums) in sums.chunks_exact_mut(room.max(1)).enumerate() {
            params.add(sums, TILE, (tile * TILE, 0));
        }
        gradient
    }
}

struct BackPanel<'a> {
    layer: &'a LinearPass<'a>,
    saved: Part<'a>,
    panel: usize,
    gradient: &'a mut [f32],
    /// By tile of the panel.
    sums: Vec<UnitSums<'a>>,
}

impl WithSimd for BackPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, saved, panel, gradient, mut sums } = self;
        let (images, steps) = (layer.spikes.batch, layer.spikes.steps);
        // Membrane potentials overwrite the currents, and gradients overwrite the potentials.
        match saved {
            Part::Nothing => {
                if let Some(matrix) = layer.matrix {
                    matrix.fill_bias(layer.params, panel, gradient);
                    matrix.add_currents(simd, panel, gradient);
                }
            }
            Part::Currents(saved) => gradient.copy_from_slice(saved),
            Part::MembraneBf16(saved) => {
                for (u, &bits) in gradient.iter_mut().zip(saved) {
                    *u = bf16_to_f32(bits);
                }
            }
            Part::SurrogateQ8(_) => {}
        }
        for (index, rows) in gradient.chunks_exact_mut(steps * TILE).enumerate() {
            let (tile, image) = (panel * PANEL + index / images, index % images);
            let neurons = layer.params.tile(tile);
            let initial = layer.params.initial_membrane(tile);
            let mut start = [0.0; TILE];
            if let Some(initial) = initial {
                start.copy_from_slice(initial);
            }
            if matches!(saved, Part::Nothing | Part::Currents(_)) {
                let mut u = start;
                for row in rows.chunks_exact_mut(TILE) {
                    neurons.integrate(simd, &mut u, row);
                    row.copy_from_slice(&u);
                }
            }
            let sums = &mut sums[index / images];
            let surrogate_q8 = match saved {
                Part::SurrogateQ8(saved) => Some(&saved[index * steps * TILE..][..steps * TILE]),
                _ => None,
            };
            let back = BackImage { layer, neurons, start, tile, image, surrogate_q8 };
            let membrane_grad = back.run(rows, sums);
            sums.add_initial(&neurons, &membrane_grad, initial, 0);
        }
    }
}

/// One image in one channel tile.
struct BackImage<'a> {
    layer: &'a LinearPass<'a>,
    neurons: TileNeurons<'a>,
    /// The initial membrane potentials.
    start: [f32; TILE],
    tile: usize,
    image: usize,
    /// `[step][lane]`.
    surrogate_q8: Option<&'a [u8]>,
}

impl BackImage<'_> {
    /// Replaces membrane potentials `[step][lane]` by their gradients, and returns those of the
    /// first step.
    #[inline(always)]
    fn run(&self, rows: &mut [f32], sums: &mut UnitSums<'_>) -> [f32; TILE] {
        let Self { layer, neurons, tile, image, .. } = *self;
        let steps = layer.spikes.steps;
        let mut spike_grad = [0.0; TILE];
        let mut membrane_grad = [0.0; TILE];
        for step in (0..steps).rev() {
            match fires_at(neurons.options, step, steps) {
                Some(fires) => {
                    let at = MapRow { tile, row: 0, image, frame: image * steps + fires };
                    layer.spike_grads.row(layer.grid, at, &mut spike_grad);
                }
                None => spike_grad.fill(0.0),
            }
            let (before, row) = rows.split_at_mut(step * TILE);
            let row = &mut row[..TILE];
            let surrogate_q8 = self.surrogate_q8.map(|all| &all[step * TILE..][..TILE]);
            match surrogate_q8 {
                Some(surrogate_q8) => {
                    neurons.step_back_q8(&mut membrane_grad, surrogate_q8, &spike_grad);
                }
                None => neurons.step_back(&mut membrane_grad, row, &spike_grad),
            }
            let at = MapRow { tile, row: 0, image, frame: image * steps + step };
            layer.spike_grads.add_membranes(layer.grid, at, &mut membrane_grad);
            match surrogate_q8 {
                _ if sums.is_empty() => {}
                Some(surrogate_q8) => {
                    self.add_q8(step, surrogate_q8, &membrane_grad, &spike_grad, sums);
                }
                None => {
                    let before = match step {
                        0 => &self.start[..],
                        _ => &before[(step - 1) * TILE..],
                    };
                    let (membrane_grad, grad) = (&membrane_grad[..], &spike_grad[..]);
                    sums.add(&neurons, Potentials { membrane_grad, u: row, before, grad });
                }
            }
            row.copy_from_slice(&membrane_grad);
        }
        membrane_grad
    }

    #[inline(always)]
    fn add_q8(
        &self,
        step: usize,
        surrogate_q8: &[u8],
        membrane_grad: &[f32],
        grad: &[f32],
        sums: &mut UnitSums<'_>,
    ) {
        let Self { layer, neurons, tile, image, .. } = *self;
        for first in (0..TILE).step_by(LANES) {
            let lanes = first..first + LANES;
            let initial = &self.start[lanes.clone()];
            let at = (tile, image, first / LANES);
            let fired = |step| layer.spikes.decided(neurons.options, step, at, 0);
            let of_lanes = neurons.lanes(lanes.clone());
            sums.lanes(lanes.clone()).add_q8(
                &of_lanes,
                Derivatives {
                    membrane_grad: &membrane_grad[lanes.clone()],
                    surrogate_q8: &surrogate_q8[lanes.clone()],
                    fired: fired(step),
                    fired_before: match step {
                        0 => of_lanes.fired(initial),
                        _ => fired(step - 1),
                    },
                    grad: &grad[lanes],
                },
            );
        }
    }
}
