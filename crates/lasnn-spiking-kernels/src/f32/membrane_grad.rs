//! The gradient of the membrane potentials of a layer on maps.

use lasnn_gemm::memory::Scratch;

use crate::geometry::Padded;
use crate::spikes::Grid;

/// The gradient with respect to membrane potentials, `[channel tile][image][step][padded position]
/// [lane]`.
#[derive(Debug)]
pub(crate) struct MembraneGrad {
    pub grid: Grid,
    pub padded: Padded,
    pub images: usize,
    pub steps: usize,
    pub gradient: Scratch,
}

impl MembraneGrad {
    /// All steps of one image in a channel tile.
    pub fn image(&self, tile: usize, image: usize) -> &[f32] {
        let size = self.steps * self.padded.positions() * self.grid.tile;
        &self.gradient[(tile * self.images + image) * size..][..size]
    }

    /// One step of one image in a channel tile.
    pub fn step(&self, tile: usize, image: usize, step: usize) -> &[f32] {
        let size = self.padded.positions() * self.grid.tile;
        &self.image(tile, image)[step * size..][..size]
    }

    /// The lanes of a channel tile at a position, which is counted without the border.
    pub fn lanes(&self, tile: usize, frame: usize, position: usize) -> &[f32] {
        let step = self.step(tile, frame / self.steps, frame % self.steps);
        &step[self.padded.place(position) * self.grid.tile..][..self.grid.tile]
    }
}
