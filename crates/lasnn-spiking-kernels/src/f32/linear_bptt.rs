//! Membrane gradients of a linear layer: back-propagation through time.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::currents::Matrix;
use crate::event::linear;
use crate::f32::bptt::fires_at;
use crate::f32::spike_grads::{MapRow, SpikeGrads};
use crate::neuron::Neurons;
use crate::spikes::Grid;
use crate::tape::{Part, Saved};

/// The gradient of the membrane potentials, `[channel tile][image][step][lane]`.
///
/// Where the tape holds nothing, the currents are computed again from `matrix`, which must be given
/// then.
pub(crate) fn linear_layer(
    matrix: Option<&Matrix<'_>>,
    saved: &Saved,
    neurons: Neurons,
    spike_grads: &SpikeGrads,
    grid: Grid,
    (images, steps): (usize, usize),
) -> Scratch {
    let size = images * steps * linear::TILE;
    let panel_size = linear::PANEL * size;
    let mut gradient = Scratch::new(grid.tiles() * size);
    gradient.par_chunks_mut(panel_size).enumerate().for_each(|(panel, gradient)| {
        let saved = saved.part(panel, panel_size);
        let images = (images, steps);
        vectors().dispatch(BackPanel {
            matrix,
            saved,
            neurons,
            spike_grads,
            grid,
            images,
            panel,
            gradient,
        });
    });
    gradient
}

struct BackPanel<'a> {
    matrix: Option<&'a Matrix<'a>>,
    saved: Part<'a>,
    neurons: Neurons,
    spike_grads: &'a SpikeGrads,
    grid: Grid,
    /// Images and steps.
    images: (usize, usize),
    panel: usize,
    gradient: &'a mut [f32],
}

impl WithSimd for BackPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            matrix,
            saved,
            neurons,
            spike_grads,
            grid,
            images: (images, steps),
            panel,
            gradient,
        } = self;
        let width = linear::TILE;
        // Membrane potentials overwrite the currents, and gradients overwrite the potentials.
        match saved {
            Part::Nothing => {
                gradient.fill(0.0);
                if let Some(matrix) = matrix {
                    matrix.add_currents(simd, panel, gradient);
                }
            }
            Part::Currents(saved) => gradient.copy_from_slice(saved),
            Part::SurrogateQ8(_) => {}
        }
        let mut spike_grad = vec![0.0; width];
        for (index, gradient) in gradient.chunks_exact_mut(steps * width).enumerate() {
            let (tile, image) = (panel * linear::PANEL + index / images, index % images);
            if !matches!(saved, Part::SurrogateQ8(_)) {
                let mut u = vec![0.0; width];
                for row in gradient.chunks_exact_mut(width) {
                    neurons.integrate(simd, &mut u, row);
                    row.copy_from_slice(&u);
                }
            }
            let mut membrane_grad = vec![0.0; width];
            for (step, row) in gradient.chunks_exact_mut(width).enumerate().rev() {
                match fires_at(neurons, step, steps) {
                    Some(fires) => {
                        let at = MapRow { tile, row: 0, image, frame: image * steps + fires };
                        spike_grads.row(grid, at, &mut spike_grad);
                    }
                    None => spike_grad.fill(0.0),
                }
                match saved {
                    Part::SurrogateQ8(saved) => {
                        let surrogate_q8 = &saved[(index * steps + step) * width..][..width];
                        neurons.step_back_q8(
                            &mut membrane_grad,
                            (surrogate_q8, neurons.q8_scale()),
                            &spike_grad,
                        );
                    }
                    _ => neurons.step_back(&mut membrane_grad, row, &spike_grad),
                }
                row.copy_from_slice(&membrane_grad);
            }
        }
    }
}
