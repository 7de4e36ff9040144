//! The forward pass, from the input to the readout.

mod layer;
mod outcome;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_core::{Precision, Shape};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::transpose::transpose;

use crate::args::{ForwardArgs, NetworkInput};
use crate::currents::Matrix;
use crate::event::linear::{PANEL, TILE};
use crate::graph::Synapse;
use crate::neuron::LaneParams;
use crate::spikes::{Grid, Spikes};
use crate::tape::{SavePolicy, Tape};

pub use outcome::{LayerProbes, Outcome, SpikeStats};

/// Frames (images times time steps) that a pass without a tape runs at once. There are enough of
/// them that a wide matrix is read once for many frames, and few enough that memory does not grow
/// with the number of time steps.
const CHUNK_FRAMES: usize = 256;

/// The membrane potentials of a network between two passes.
#[derive(Debug)]
pub struct Membranes {
    /// By layer, `[tile][image][position][lane]`.
    layers: Vec<Scratch>,
}

impl ForwardArgs<'_> {
    /// The membrane potentials before the first step: the initial ones of the layers that have
    /// them, else zeros.
    pub fn start(&self) -> Membranes {
        let of = |layer: usize| {
            let grid = self.grid(layer);
            let map = grid.tile * grid.shape.positions();
            let mut u = Scratch::zeros_parallel(grid.lanes() * grid.shape.positions() * self.batch);
            let params = LaneParams::of(self, layer);
            for (unit, u) in u.chunks_exact_mut(map).enumerate() {
                if let Some(initial) = params.initial_membrane(unit / self.batch) {
                    u.copy_from_slice(initial);
                }
            }
            u
        };
        Membranes { layers: (0..self.graph.layers.len()).map(of).collect() }
    }

    /// Runs `steps` time steps on from `membranes` without a tape, so that memory does not grow
    /// with `steps`, except for what `probes` returns of each step.
    ///
    /// Weights are not rounded, whatever the precision of the pass, unless they are packed.
    pub fn advance(
        &self,
        input: NetworkInput<&[f32]>,
        steps: usize,
        membranes: &mut Membranes,
        probes: LayerProbes<'_>,
    ) -> Outcome {
        let args = Self { precision: Precision::F32, ..*self };
        // A count over all chunks is squared once, so each chunk returns counts.
        let mut outcome = Outcome::empty(self, probes, steps, |stats| stats != SpikeStats::Nothing);
        let chunk = (CHUNK_FRAMES / self.batch.max(1)).max(1);
        for first in (0..steps).step_by(chunk) {
            let range = first..steps.min(first + chunk);
            let input = match input {
                NetworkInput::Spikes(spikes) => {
                    let step = self.graph.input.len() * self.batch;
                    NetworkInput::Spikes(&spikes[range.start * step..range.end * step])
                }
                constant => constant,
            };
            args.run(input, range.len(), membranes, &mut outcome, (&[], probes.membranes));
        }
        let layers = self.graph.layers.iter().enumerate();
        for (index, layer) in layers.filter(|(index, _)| probes.of(*index) == SpikeStats::Squares) {
            let counts = std::mem::take(&mut outcome.counts[index]);
            outcome.squares[index] = squares(&counts, layer.shape);
        }
        outcome
    }

    /// Runs `steps` time steps from [`ForwardArgs::start`] and records them for
    /// [`ForwardArgs::backward`].
    pub fn record(
        &self,
        input: NetworkInput<&[f32]>,
        steps: usize,
        probes: LayerProbes<'_>,
    ) -> (Outcome, Tape) {
        let mut outcome = Outcome::empty(self, probes, steps, |stats| stats == SpikeStats::Counts);
        let requests = (&self.save_policies()[..], probes.membranes);
        let tape = self.run(input, steps, &mut self.start(), &mut outcome, requests);
        for (layer, (spikes, squares)) in tape.layers.iter().zip(&mut outcome.squares).enumerate() {
            if probes.of(layer) == SpikeStats::Squares {
                *squares = spikes.squares();
            }
        }
        (outcome, tape)
    }

    /// Runs `steps` time steps and adds their results to `outcome`. The tape saves nothing beside
    /// the spikes of layers without an entry in `save_policies`. The outcome has the membrane
    /// potentials of the layers `of_membranes`.
    fn run(
        &self,
        input: NetworkInput<&[f32]>,
        steps: usize,
        membranes: &mut Membranes,
        outcome: &mut Outcome,
        (save_policies, of_membranes): (&[SavePolicy], &[usize]),
    ) -> Tape {
        let (input, constant) = match input {
            NetworkInput::Spikes(spikes) => {
                (Some(Spikes::of(spikes, self.graph.input, self.batch, steps)), None)
            }
            NetworkInput::Currents(currents) => {
                (None, Some(tiled(currents, self.grid(0), self.batch)))
            }
        };
        let mut tape = Tape { input, constant, layers: Vec::new(), saved: Vec::new(), steps };
        for (index, membranes) in membranes.layers.iter_mut().enumerate() {
            let save_policy = save_policies.get(index).copied().unwrap_or(SavePolicy::Nothing);
            let requests = (save_policy, of_membranes.contains(&index));
            let (spikes, record) = self.run_layer(index, &tape, membranes, requests);
            if let Some(counts) = outcome.counts.get_mut(index).filter(|counts| !counts.is_empty())
            {
                spikes.count(counts);
            }
            if let Some(membranes) = &record.membranes {
                append_maps(membranes, &spikes, &mut outcome.membranes[index]);
            }
            tape.layers.push(spikes);
            tape.saved.push(record.saved);
        }
        self.read_out(&tape, outcome);
        tape
    }

    /// Appends the currents into the readout to `outcome`, and adds them to its readout.
    fn read_out(&self, tape: &Tape, outcome: &mut Outcome) {
        let projection = &self.graph.readout;
        let Synapse::Linear { weight } = projection.synapse else {
            unreachable!("`Graph::check` accepts only a linear readout")
        };
        let classes = self.graph.classes;
        let matrix = self.matrix(projection, weight, classes, tape);
        let bias = self.graph.readout_bias.map(|bias| self.params[bias]);
        let first = outcome.by_step.len();
        outcome.by_step.resize(first + tape.steps * self.batch * classes, 0.0);
        let (steps, frames) = (tape.steps, self.batch * tape.steps);
        for panel in 0..classes.div_ceil(TILE * PANEL) {
            let currents = vectors().dispatch(PanelCurrents { matrix: &matrix, panel });
            for (index, currents) in currents.chunks_exact(TILE).enumerate() {
                let (tile, frame) = (panel * PANEL + index / frames, index % frames);
                let columns = tile * TILE..classes.min((tile + 1) * TILE);
                let at = first + (frame % steps * self.batch + frame / steps) * classes;
                let to = &mut outcome.by_step[at..][columns.clone()];
                to.copy_from_slice(&currents[..columns.len()]);
                if let Some(bias) = bias {
                    to.iter_mut().zip(&bias[columns]).for_each(|(to, bias)| *to += bias);
                }
            }
        }
        for currents in outcome.by_step[first..].chunks_exact(self.batch * classes) {
            for (sum, current) in outcome.readout.iter_mut().zip(currents) {
                *sum += current;
            }
        }
    }
}

/// The squares of counts `[batch, channels, height, width]`, summed over the channels.
fn squares(counts: &[f32], shape: Shape) -> Vec<f32> {
    let mut sums = vec![0.0; counts.len() / shape.channels];
    let images = counts.chunks_exact(shape.len()).zip(sums.chunks_exact_mut(shape.positions()));
    for (maps, sums) in images {
        for map in maps.chunks_exact(shape.positions()) {
            sums.iter_mut().zip(map).for_each(|(sum, count)| *sum += count * count);
        }
    }
    sums
}

/// Appends `numbers`, `[tile][image][step][position][lane]`, to `maps` as
/// `[step, image, channel, position]`. `spikes` are the spikes of the same layer at the same time
/// steps, and give the sizes.
fn append_maps(numbers: &[f32], spikes: &Spikes, maps: &mut Vec<f32>) {
    let Spikes { grid, batch, steps, .. } = *spikes;
    let (positions, channels) = (grid.shape.positions(), grid.shape.channels);
    let first = maps.len();
    maps.resize(first + steps * batch * grid.shape.len(), 0.0);
    let frames = maps[first..].par_chunks_exact_mut(grid.shape.len()).enumerate();
    frames.for_each(|(frame, maps)| {
        let (step, image) = (frame / batch, frame % batch);
        for (tile, maps) in maps.chunks_mut(grid.tile * positions).enumerate() {
            let place = ((tile * batch + image) * steps + step) * positions * grid.tile;
            let lanes = grid.tile.min(channels - tile * grid.tile);
            transpose((&numbers[place..], grid.tile), (maps, positions), [positions, lanes]);
        }
    });
}

/// Feature maps `[batch, channels, height, width]` as `[tile][image][position][lane]`.
fn tiled(maps: &[f32], grid: Grid, batch: usize) -> Scratch {
    let Shape { channels, .. } = grid.shape;
    let positions = grid.shape.positions();
    // Every number is written.
    let mut tiled = Scratch::new(grid.lanes() * positions * batch);
    tiled.par_chunks_mut(positions * grid.tile).enumerate().for_each(|(unit, tiled)| {
        let (tile, image) = (unit / batch, unit % batch);
        let lanes = grid.tile.min(channels - tile * grid.tile);
        if lanes < grid.tile {
            tiled.fill(0.0);
        }
        let maps = &maps[(image * channels + tile * grid.tile) * positions..];
        transpose((maps, positions), (tiled, grid.tile), [lanes, positions]);
    });
    tiled
}

/// The currents `[tile][frame][lane]` of one panel of a matrix.
struct PanelCurrents<'a> {
    matrix: &'a Matrix<'a>,
    panel: usize,
}

impl WithSimd for PanelCurrents<'_> {
    type Output = Scratch;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Scratch {
        let mut currents = Scratch::zeros(self.matrix.size(self.panel));
        self.matrix.add_currents(simd, self.panel, &mut currents);
        currents
    }
}
