//! Gradients of a layer's membranes: back-propagation through time.
//!
//! Membrane potentials are computed again, one row of a map at a time: from the spikes that caused
//! them or from their currents, unless a tape save_policies all that they are needed for.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::bf16::Downstream;
use crate::currents::Matrix;
use crate::event::conv::{Feed, Unit};
use crate::event::linear;
use crate::geometry::Padded;
use crate::graph::PoolAndMask;
use crate::neuron::Neurons;
use crate::spikes::Grid;
use crate::tape::{Part, Saved};
use lasnn_core::neuron::StepOrder;

/// The gradient with respect to the spikes of a layer, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct SpikeGrads {
    /// The part that is the same at every step, `[image][position][lane]`.
    pub constant: Option<Scratch>,
    /// The parts that came through views.
    pub by_step: Vec<ByStep>,
    /// Where the other parts come from, with tiles.
    pub downstream: Vec<Downstream>,
}

/// A gradient downstream a pooling.
#[derive(Debug)]
pub(crate) struct ByStep {
    pub pooling: PoolAndMask,
    /// What a spike counts for where it is not silenced.
    pub scale: f32,
    /// 0 or 1 for `[image][position of the pooling][lane]`, where the pooling has a mask.
    pub mask: Option<Scratch>,
    /// `[image][step][position of the pooling][lane]`.
    pub gradient: Scratch,
}

impl SpikeGrads {
    /// Writes the gradient `[column][lane of the tile]` of one row of a map.
    #[inline(always)]
    pub fn row(
        &self,
        grid: Grid,
        (tile, image, step, steps): (usize, usize, usize, usize),
        row: usize,
        gradient: &mut [f32],
    ) {
        let (lanes, width) = (grid.lanes(), grid.shape.width);
        match &self.constant {
            Some(constant) => {
                let first = (image * grid.shape.positions() + row * width) * lanes;
                let places = constant[first..].chunks_exact(lanes);
                for (to, from) in gradient.chunks_exact_mut(grid.tile).zip(places) {
                    to.copy_from_slice(&from[tile * grid.tile..][..grid.tile]);
                }
            }
            None => gradient.fill(0.0),
        }
        for part in &self.by_step {
            part.add(grid, (tile, image, image * steps + step), row, gradient);
        }
    }

    /// The part for some images, of what has come.
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
        }
    }
}

impl ByStep {
    /// Adds the gradient of one tile of a row of a map, `[column][lane of the tile]`.
    #[inline(always)]
    fn add(
        &self,
        grid: Grid,
        (tile, image, frame): (usize, usize, usize),
        row: usize,
        gradient: &mut [f32],
    ) {
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

    /// Adds a gradient without steps to a row `[column][lane]` of all tiles.
    pub fn add_row(&self, grid: Grid, image: usize, row: usize, gradient: &mut [f32]) {
        let whole = Grid { tile: grid.lanes(), ..grid };
        self.add(whole, (0, image, image), row, gradient);
    }
}

/// The gradients of the membranes of a layer on maps, `[tile][image][step][padded position][lane]`.
#[derive(Debug)]
pub(crate) struct MembraneGrad {
    pub grid: Grid,
    pub padded: Padded,
    pub images: usize,
    pub steps: usize,
    pub gradient: Scratch,
}

impl MembraneGrad {
    /// All steps of one image.
    pub fn image(&self, tile: usize, image: usize) -> &[f32] {
        let size = self.steps * self.padded.positions() * self.grid.tile;
        &self.gradient[(tile * self.images + image) * size..][..size]
    }

    /// One step of one image.
    pub fn step(&self, tile: usize, image: usize, step: usize) -> &[f32] {
        let size = self.padded.positions() * self.grid.tile;
        &self.image(tile, image)[step * size..][..size]
    }

    /// The lanes of a tile at a position, in one of the frames: the steps of all images.
    pub fn lanes(&self, tile: usize, frame: usize, position: usize) -> &[f32] {
        let step = self.step(tile, frame / self.steps, frame % self.steps);
        &step[self.padded.place(position) * self.grid.tile..][..self.grid.tile]
    }

    /// The gradient of a layer, or its sum over the steps if `summed`.
    pub fn of(
        layer: &LayerPass<'_>,
        pending: &SpikeGrads,
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
                pending,
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

/// A layer with what drove it.
pub(crate) struct LayerPass<'a> {
    pub grid: Grid,
    pub neurons: Neurons,
    pub steps: usize,
    pub feeds: &'a [Feed<'a>],
    pub constant: Option<&'a [f32]>,
    /// What a tape has saved, for how many images, and the first image of this pass.
    pub saved: (&'a Saved, usize, usize),
}

struct BackUnit<'a> {
    layer: &'a LayerPass<'a>,
    pending: &'a SpikeGrads,
    padded: Padded,
    images: usize,
    index: usize,
    /// `[step][padded position][lane]`, or one step if summed.
    gradient: &'a mut [f32],
    summed: bool,
}

impl WithSimd for BackUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, pending, padded, images, index, gradient, summed } = self;
        let LayerPass { grid, neurons, steps, feeds, constant, saved: (saved, batch, first) } =
            *layer;
        let mut unit = Unit::new(grid, index, images, feeds, constant);
        let (tile, image) = (index / images, index % images);
        let width = grid.shape.width * grid.tile;
        let saved = saved.part(tile * batch + first + image, steps * grid.shape.height * width);
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
                        pending.row(grid, (tile, image, fires, steps), row, &mut spike_grad)
                    }
                    None => spike_grad.fill(0.0),
                }
                match saved {
                    Part::SurrogateQ8(saved) => {
                        let surrogate_q8 = &saved[place(step)..][..width];
                        neurons.step_back_along(
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

/// At which step the membrane potential that a step leaves decides about a spike.
#[inline(always)]
pub(crate) fn fires_at(neurons: Neurons, step: usize, steps: usize) -> Option<usize> {
    match neurons.step_order {
        StepOrder::IntegrateThenFire => Some(step),
        StepOrder::FireThenIntegrate => Some(step + 1).filter(|&next| next < steps),
    }
}

/// The gradients `[tile][image][step][lane]` of the membranes of a linear layer; its currents are
/// computed again where nothing was `saved`.
pub(crate) fn linear_layer(
    matrix: Option<&Matrix<'_>>,
    saved: &Saved,
    neurons: Neurons,
    pending: &SpikeGrads,
    grid: Grid,
    (images, steps): (usize, usize),
) -> Scratch {
    let size = images * steps * linear::TILE;
    let panel_size = linear::PANEL * size;
    let mut gradient = Scratch::new(grid.tiles() * size);
    gradient.par_chunks_mut(panel_size).enumerate().for_each(|(panel, gradient)| {
        let saved = saved.part(panel, panel_size);
        let images = (images, steps);
        vectors().dispatch(BackMatrix {
            matrix,
            saved,
            neurons,
            pending,
            grid,
            images,
            panel,
            gradient,
        });
    });
    gradient
}

struct BackMatrix<'a> {
    /// Where currents are computed again.
    matrix: Option<&'a Matrix<'a>>,
    saved: Part<'a>,
    neurons: Neurons,
    pending: &'a SpikeGrads,
    grid: Grid,
    /// Images and steps.
    images: (usize, usize),
    panel: usize,
    gradient: &'a mut [f32],
}

impl WithSimd for BackMatrix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            matrix,
            saved,
            neurons,
            pending,
            grid,
            images: (images, steps),
            panel,
            gradient,
        } = self;
        let width = linear::TILE;
        // Currents give way to membrane potentials, and those to gradients.
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
                        pending.row(grid, (tile, image, fires, steps), 0, &mut spike_grad)
                    }
                    None => spike_grad.fill(0.0),
                }
                match saved {
                    Part::SurrogateQ8(saved) => {
                        let surrogate_q8 = &saved[(index * steps + step) * width..][..width];
                        neurons.step_back_along(
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
