//! The gradients of a loss with respect to the results of a pass, in the order of the kernels.

use rayon::prelude::*;

use lasnn_core::Trace;
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::transpose::transpose;

use super::transposed;
use crate::args::ForwardArgs;
use crate::f32::spike_grads::{ByStep, SpikeGrads};
use crate::spikes::Grid;
use crate::tape::Tape;

/// The gradients of a loss with respect to the results of a pass, an [`Outcome`](crate::Outcome).
#[derive(Clone, Copy, Debug, Default)]
pub struct OutcomeGrad<'a> {
    /// With respect to the readout, `[batch, classes]`.
    pub readout: &'a [f32],
    /// With respect to the currents into the readout at each time step, `[steps, batch, classes]`,
    /// or `None` if the loss does not depend on them.
    pub by_step: Option<&'a [f32]>,
    /// By layer: with respect to the spike counts, `[batch, channels, height, width]`, or `None` if
    /// the loss does not depend on them. Missing entries are `None`.
    pub counts: &'a [Option<&'a [f32]>],
    /// By layer: with respect to the squared spike counts, summed over the channels, `[batch,
    /// height, width]`, or `None` if the loss does not depend on them. Missing entries are `None`.
    pub squares: &'a [Option<&'a [f32]>],
    /// By layer: with respect to a spike activation map, `[steps, batch, height, width]`, or `None`
    /// if the loss does not depend on it. Missing entries are `None`.
    pub activation_maps: &'a [Option<(Trace, &'a [f32])>],
    /// By layer: with respect to the membrane potentials after each time step,
    /// `[steps, batch, channels, height, width]`, or `None` if the loss does not depend on them.
    /// Missing entries are `None`.
    pub membranes: &'a [Option<&'a [f32]>],
}

impl ForwardArgs<'_> {
    /// The gradients that the loss has with respect to the values that layers return.
    pub(super) fn loss_grads(&self, tape: &Tape, grad: OutcomeGrad<'_>) -> Vec<SpikeGrads> {
        let of = |layer: usize| {
            let grid = self.grid(layer);
            let positions = grid.shape.positions();
            let by_position = |maps| transposed(maps, positions, grid.lanes(), self.batch);
            let mut constant = grad.counts.get(layer).copied().flatten().map(by_position);
            if let Some(squares) = grad.squares.get(layer).copied().flatten() {
                let size = self.batch * positions * grid.lanes();
                let constant = constant.get_or_insert_with(|| Scratch::zeros_parallel(size));
                tape.layers[layer].squares_backward(squares, constant);
            }
            let by_step =
                grad.activation_maps.get(layer).copied().flatten().map(|(trace, grad)| {
                    ByStep::plain(tape.layers[layer].activation_map_backward(trace, grad))
                });
            let membranes = grad.membranes.get(layer).copied().flatten();
            let membranes = membranes.map(|maps| ByStep::plain(self.by_frame(maps, grid)));
            let by_step = by_step.into_iter().collect();
            SpikeGrads { constant, by_step, membranes, ..SpikeGrads::default() }
        };
        (0..self.graph.layers.len()).map(of).collect()
    }

    /// Maps `[step, image, channel, position]` as `[image][step][position][lane]`. Lanes without a
    /// channel are zeros.
    fn by_frame(&self, maps: &[f32], grid: Grid) -> Scratch {
        let (positions, lanes) = (grid.shape.positions(), grid.lanes());
        let frames = maps.len() / grid.shape.len();
        let steps = frames / self.batch.max(1);
        // Every number is written.
        let mut result = Scratch::new(frames * positions * lanes);
        result.par_chunks_mut(positions * lanes).enumerate().for_each(|(frame, result)| {
            let (image, step) = (frame / steps, frame % steps);
            let maps = &maps[(step * self.batch + image) * grid.shape.len()..];
            result.fill(0.0);
            transpose((maps, positions), (result, lanes), [grid.shape.channels, positions]);
        });
        result
    }
}
