//! The gradient of a layer's spikes, as the loss and the layers downstream leave it, and that of
//! its membrane potentials, as the loss leaves it.

use std::ops::Range;

use lasnn_gemm::memory::Scratch;

use crate::bf16::Downstream;
use crate::graph::PoolAndMask;
use crate::spikes::Grid;

/// The gradient with respect to the spikes of a layer: the sum of these terms.
#[derive(Debug, Default)]
pub(crate) struct SpikeGrads {
    /// The term that is equal at all time steps, `[image][position][lane]`.
    pub constant: Option<Scratch>,
    /// The terms that differ from step to step.
    pub by_step: Vec<ByStep>,
    /// The projections from which a layer computes further terms itself, in bfloat16.
    pub downstream: Vec<Downstream>,
    /// No term of the sum: the gradient that the loss has with respect to the membrane potentials
    /// after each step.
    pub membranes: Option<ByStep>,
}

/// A row of a map in a channel tile, for one image at one time step.
#[derive(Clone, Copy)]
pub(crate) struct MapRow {
    pub tile: usize,
    pub row: usize,
    pub image: usize,
    /// The image times the number of steps, plus the step.
    pub frame: usize,
}

impl SpikeGrads {
    /// Writes the sum of `constant` and `by_step` for one row of a map, `[column][lane of the
    /// tile]`.
    #[inline(always)]
    pub fn row(&self, grid: Grid, at: MapRow, gradient: &mut [f32]) {
        let (lanes, width) = (grid.lanes(), grid.shape.width);
        match &self.constant {
            Some(constant) => {
                let first = (at.image * grid.shape.positions() + at.row * width) * lanes;
                let places = constant[first..].chunks_exact(lanes);
                for (to, from) in gradient.chunks_exact_mut(grid.tile).zip(places) {
                    to.copy_from_slice(&from[at.tile * grid.tile..][..grid.tile]);
                }
            }
            None => gradient.fill(0.0),
        }
        for part in &self.by_step {
            part.add(grid, at, gradient);
        }
    }

    /// Adds the gradient that the loss has with respect to membrane potentials to `membrane_grad`,
    /// `[column][lane of the tile]`. The frame of `at` has the step that the potentials follow.
    #[inline(always)]
    pub fn add_membranes(&self, grid: Grid, at: MapRow, membrane_grad: &mut [f32]) {
        if let Some(membranes) = &self.membranes {
            membranes.add(grid, at, membrane_grad);
        }
    }

    /// All but `downstream` for some images of a batch. `downstream` is for some images only
    /// and is filled later.
    pub fn images(&self, images: &Range<usize>, batch: usize) -> Self {
        let some = |all: &[f32]| {
            let size = all.len() / batch;
            Scratch::copy(&all[images.start * size..images.end * size])
        };
        let part = |part: &ByStep| ByStep {
            mask: part.mask.as_deref().map(some),
            gradient: some(&part.gradient),
            ..*part
        };
        Self {
            constant: self.constant.as_deref().map(some),
            by_step: self.by_step.iter().map(part).collect(),
            downstream: Vec::new(),
            membranes: self.membranes.as_ref().map(part),
        }
    }
}

/// The gradient of the spikes after a pooling and a mask. Membrane potentials have none of both.
#[derive(Debug)]
pub(crate) struct ByStep {
    pub pooling: PoolAndMask,
    /// The value of a spike after pooling and mask.
    pub scale: f32,
    /// 0 or 1, `[image][pooled position][lane]`; `None` without a mask.
    pub mask: Option<Scratch>,
    /// `[image][step][pooled position][lane]`.
    pub gradient: Scratch,
}

impl ByStep {
    /// A gradient `[image][step][position][lane]` without pooling and mask.
    pub fn plain(gradient: Scratch) -> Self {
        Self { pooling: PoolAndMask::PLAIN, scale: 1.0, mask: None, gradient }
    }

    /// Adds the gradient of one row of a map before the pooling, `[column][lane of the tile]`.
    #[inline(always)]
    fn add(&self, grid: Grid, at: MapRow, gradient: &mut [f32]) {
        let MapRow { tile, row, image, frame } = at;
        let pooled = self.pooling.shape(grid.shape);
        let [rows, columns] = self.pooling.pool;
        if row / rows >= pooled.height {
            return;
        }
        let lanes = grid.lanes();
        for (column, to) in gradient.chunks_exact_mut(grid.tile).enumerate() {
            if column / columns >= pooled.width {
                continue;
            }
            let position = row / rows * pooled.width + column / columns;
            let at = |frame: usize| (frame * pooled.positions() + position) * lanes;
            let from = &self.gradient[at(frame)..][..lanes][tile * grid.tile..][..grid.tile];
            match &self.mask {
                Some(mask) => {
                    let mask = &mask[at(image)..][..lanes][tile * grid.tile..][..grid.tile];
                    for ((to, &from), &mask) in to.iter_mut().zip(from).zip(mask) {
                        *to += self.scale * mask * from;
                    }
                }
                None => {
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to += self.scale * from;
                    }
                }
            }
        }
    }

    /// Adds the gradient of one row of a map, `[column][lane]` of all channel tiles, where
    /// `gradient` has no time steps: `[image][pooled position][lane]`.
    pub fn add_row(&self, grid: Grid, image: usize, row: usize, gradient: &mut [f32]) {
        let whole = Grid { tile: grid.lanes(), ..grid };
        self.add(whole, MapRow { tile: 0, row, image, frame: image }, gradient);
    }
}
