//! The membrane gradients of a layer on feature maps, in the form that its consumers take.

use std::cell::OnceCell;
use std::sync::Arc;

use rayon::prelude::*;

use lasnn_gemm::memory::Scratch;

use crate::bf16::RoundedMembraneGrad;
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::Padded;

/// The membrane gradients of a layer, in single precision or rounded to bfloat16. The other form is
/// computed when a consumer asks for it.
pub(super) enum MembraneGrads {
    Exact(MembraneGrad, OnceCell<RoundedMembraneGrad>),
    Rounded(Arc<RoundedMembraneGrad>, Padded, OnceCell<MembraneGrad>),
}

impl MembraneGrads {
    pub fn exact(&self) -> &MembraneGrad {
        match self {
            Self::Exact(exact, _) => exact,
            Self::Rounded(rounded, padded, exact) => exact.get_or_init(|| rounded.spread(*padded)),
        }
    }

    pub fn rounded(&self) -> &RoundedMembraneGrad {
        match self {
            Self::Exact(exact, rounded) => {
                rounded.get_or_init(|| RoundedMembraneGrad::rounded(exact))
            }
            Self::Rounded(rounded, ..) => rounded,
        }
    }
}

/// The input gradient of an identity, which is the membrane gradient,
/// `[image][step][position][lane]` with `lanes` lanes.
pub(super) fn identity_input_grad(membrane_grad: &MembraneGrad, lanes: usize) -> Scratch {
    let (grid, positions) = (membrane_grad.grid, membrane_grad.grid.shape.positions());
    let mut gradient =
        Scratch::zeros_parallel(membrane_grad.images * membrane_grad.steps * positions * lanes);
    gradient.par_chunks_mut(positions * lanes).enumerate().for_each(|(frame, gradient)| {
        for tile in 0..grid.tiles() {
            let columns = tile * grid.tile..lanes.min((tile + 1) * grid.tile);
            for (position, to) in gradient.chunks_exact_mut(lanes).enumerate() {
                if let Some(to) = to.get_mut(columns.clone()) {
                    let from = membrane_grad.lanes(tile, frame, position);
                    to.copy_from_slice(&from[..columns.len()]);
                }
            }
        }
    });
    gradient
}

/// Writes the first time step as `[image, channels, height, width]`.
pub(super) fn first_step(membrane_grad: &MembraneGrad, maps: &mut [f32]) {
    let grid = membrane_grad.grid;
    let (channels, positions) = (grid.shape.channels, grid.shape.positions());
    maps.par_chunks_mut(positions).enumerate().for_each(|(index, map)| {
        let (image, channel) = (index / channels, index % channels);
        let from = membrane_grad.step(channel / grid.tile, image, 0);
        for (position, to) in map.iter_mut().enumerate() {
            let (y, x) = (position / grid.shape.width, position % grid.shape.width);
            *to = from[(membrane_grad.padded.row(y) + x) * grid.tile + channel % grid.tile];
        }
    });
}
