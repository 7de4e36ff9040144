//! A pass from the input to the readout.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::args::{ForwardArgs, NetworkInput};
use crate::bf16::{self, Frames};
use crate::event::conv::{Unit, events, feeds, grid};
use crate::event::linear::{self, Matrix, RowEvents};
use crate::event::weights::WeightFormat;
use crate::graph::{Projection, Synapse};
use crate::neuron::Neurons;
use crate::spikes::{Grid, Spikes};
use crate::tape::{PartMut, SavePolicy, Saved, Tape};
use lasnn_core::Shape;
use lasnn_gemm::transpose::transpose;

/// Rows of images and steps that a pass without history runs at once: enough for a wide matrix to
/// be read once for many, few enough that memory does not grow with the number of steps.
const CHUNK_ROWS: usize = 256;

/// The membrane potentials of a graph between two passes.
#[derive(Debug)]
pub struct Membranes {
    /// By layer, `[tile][image][position][lane]`.
    layers: Vec<Scratch>,
}

/// What a pass shows of the spikes of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpikeStats {
    /// Nothing.
    #[default]
    Nothing,
    /// How often each neuron fired.
    Counts,
    /// The squares of that, added up over the channels: but for a factor, the attention map of the firing
    /// rates (Eq. 5-6).
    Squares,
}

/// What a pass leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the readout has integrated, `[batch, classes]`.
    pub readout: Vec<f32>,
    /// The currents into the readout at each step, `[steps, batch, classes]`.
    pub by_step: Vec<f32>,
    /// How often each neuron of each layer fired, `[batch, channels, height, width]`; empty where
    /// not needed for.
    pub counts: Vec<Vec<f32>>,
    /// The squares of that, added up over the channels, `[batch, height, width]`; empty where not needed for.
    pub squares: Vec<Vec<f32>>,
}

impl ForwardArgs<'_> {
    /// The membrane potentials of neurons at rest.
    pub fn rest(&self) -> Membranes {
        let of = |(layer, _): (usize, _)| {
            let grid = self.grid(layer);
            Scratch::zeros_parallel(grid.lanes() * grid.shape.positions() * self.batch)
        };
        Membranes { layers: self.graph.layers.iter().enumerate().map(of).collect() }
    }

    /// Runs `steps` time steps on from `membranes`, in pieces, and save_policies no history. `stats` says what is
    /// stats of each layer.
    pub fn advance(
        &self,
        input: NetworkInput<&[f32]>,
        steps: usize,
        membranes: &mut Membranes,
        stats: &[SpikeStats],
    ) -> Outcome {
        // Only what is recorded is rounded.
        let args = Self { precision: Precision::F32, ..*self };
        // Squares are those of all pieces.
        let mut outcome = self.nothing(stats, |show| show != SpikeStats::Nothing);
        let piece = (CHUNK_ROWS / self.batch.max(1)).max(1);
        for first in (0..steps).step_by(piece) {
            let range = first..steps.min(first + piece);
            let input = match input {
                NetworkInput::Spikes(spikes) => {
                    let step = self.graph.input.len() * self.batch;
                    NetworkInput::Spikes(&spikes[range.start * step..range.end * step])
                }
                constant => constant,
            };
            args.run(input, range.len(), membranes, &mut outcome, &[]);
        }
        let layers = self.graph.layers.iter().zip(stats).enumerate();
        for (index, (layer, _)) in layers.filter(|(_, (_, show))| **show == SpikeStats::Squares) {
            let counts = std::mem::take(&mut outcome.counts[index]);
            outcome.squares[index] = squares(&counts, layer.shape);
        }
        outcome
    }

    /// Runs `steps` time steps from rest and records them for [`ForwardArgs::backward`].
    pub fn record(
        &self,
        input: NetworkInput<&[f32]>,
        steps: usize,
        stats: &[SpikeStats],
    ) -> (Outcome, Tape) {
        let mut outcome = self.nothing(stats, |show| show == SpikeStats::Counts);
        let tape = self.run(input, steps, &mut self.rest(), &mut outcome, &self.save_policies());
        let layers = tape.layers.iter().zip(stats).zip(&mut outcome.squares);
        for ((spikes, _), squares) in layers.filter(|((_, show), _)| **show == SpikeStats::Squares)
        {
            *squares = spikes.squares();
        }
        (outcome, tape)
    }

    fn nothing(&self, stats: &[SpikeStats], is_counted: impl Fn(SpikeStats) -> bool) -> Outcome {
        let counts = self.graph.layers.iter().zip(stats).map(|(layer, &show)| {
            vec![0.0; if is_counted(show) { layer.shape.len() * self.batch } else { 0 }]
        });
        Outcome {
            readout: vec![0.0; self.batch * self.graph.classes],
            by_step: Vec::new(),
            counts: counts.collect(),
            squares: vec![Vec::new(); self.graph.layers.len()],
        }
    }

    /// How the map of a layer is cut.
    pub(crate) fn grid(&self, layer: usize) -> Grid {
        let layer = &self.graph.layers[layer];
        match layer.projections.first().map(|projection| projection.synapse) {
            Some(Synapse::Linear { .. }) => Grid { shape: layer.shape, tile: linear::TILE },
            _ => grid(self, layer.shape, &layer.projections),
        }
    }

    /// One piece of a pass. Of each layer the tape save_policies what `save_policy` says, or nothing.
    fn run(
        &self,
        input: NetworkInput<&[f32]>,
        steps: usize,
        membranes: &mut Membranes,
        outcome: &mut Outcome,
        save_policy: &[SavePolicy],
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
            let save_policy = save_policy.get(index).copied().unwrap_or(SavePolicy::Nothing);
            let (spikes, saved) = self.run_layer(index, &tape, membranes, save_policy);
            if let Some(counts) = outcome.counts.get_mut(index).filter(|counts| !counts.is_empty())
            {
                spikes.count(counts);
            }
            tape.layers.push(spikes);
            tape.saved.push(saved);
        }
        self.read_out(&tape, outcome);
        tape
    }

    /// The spikes of one layer, and what is saved beside them.
    fn run_layer(
        &self,
        index: usize,
        tape: &Tape,
        membranes: &mut [f32],
        save_policy: SavePolicy,
    ) -> (Spikes, Saved) {
        let grid = self.grid(index);
        let steps = tape.steps;
        let mut spikes = Spikes::silent(grid, self.batch, steps);
        let frame = grid.shape.positions() * grid.tile;
        let mut saved = Saved::new(save_policy, grid.tiles() * self.batch * steps * frame);
        let projections = &self.graph.layers[index].projections;
        let neurons = self.neurons[index];
        if let [projection @ Projection { synapse: Synapse::Linear { weight }, .. }] =
            projections[..]
        {
            let matrix = &self.matrix(&projection, weight, grid.shape.channels, tape);
            let images = linear::PANEL * self.batch;
            let panels = spikes.words.par_chunks_mut(images * steps * grid.words());
            let panels = panels.zip(membranes.par_chunks_mut(images * grid.tile)).enumerate();
            let size = images * steps * grid.tile;
            let saved = saved.parts_mut([size; 2], panels.len());
            panels.zip(saved).for_each(|((panel, (words, u)), saved)| {
                vectors().dispatch(RunMatrix { matrix, panel, neurons, steps, words, u, saved });
            });
        } else if self.is_tiled(index) {
            bf16::run_maps(self, index, tape, membranes, (&mut spikes, &mut saved));
        } else {
            let from: Vec<&Spikes> =
                projections.iter().map(|projection| tape.spikes(projection.presynaptic)).collect();
            let feeds = feeds(self, projections, grid, &from);
            let constant = tape.constant.as_deref().filter(|_| projections.is_empty());
            let size = spikes.image_words();
            let units = spikes.words.par_chunks_mut(size);
            let units = units.zip(membranes.par_chunks_mut(frame)).enumerate();
            let saved = saved.parts_mut([steps * frame; 2], units.len());
            units.zip(saved).for_each(|((index, (words, u)), saved)| {
                let unit = Unit::new(grid, index, self.batch, &feeds, constant);
                vectors().dispatch(RunUnit { unit, grid, neurons, words, u, saved });
            });
        }
        (spikes, saved)
    }

    /// What a spike counts for downstream the pooling of a projection.
    pub(crate) fn scale(&self, projection: &Projection) -> f32 {
        projection.pooling.scale() * self.mask(projection).map_or(1.0, |mask| mask.factor())
    }

    /// The matrix of a linear projection.
    pub(crate) fn matrix<'a>(
        &'a self,
        projection: &Projection,
        weight: usize,
        outputs: usize,
        tape: &Tape,
    ) -> Matrix<'a> {
        let spikes = tape.spikes(projection.presynaptic);
        let packed = self.packed_weights.map(|packed_weights| packed_weights.weight(weight));
        let format = self.format();
        let (events, blocks, dense) = match format {
            WeightFormat::Bf16 if bf16::fit(&projection.pooling) => {
                let mask = self.mask(projection);
                let frames = Frames::of(spikes, &projection.pooling, mask, 0..spikes.batch);
                (RowEvents::none(spikes.frames()), Vec::new(), Some(frames))
            }
            format => {
                let events = self.row_events(projection, tape);
                let rows = self.graph.pooled(projection).len();
                let blocks = events.blocks(rows, linear::block(format));
                (events, blocks, None)
            }
        };
        Matrix {
            weights: self.weights[weight],
            packed,
            outputs,
            events,
            blocks,
            dense,
            format,
            scale: self.scale(projection),
        }
    }

    /// The rows of its matrix that a linear projection names.
    pub(crate) fn row_events(&self, projection: &Projection, tape: &Tape) -> RowEvents {
        let pooled = self.graph.pooled(projection);
        let mask = self.mask(projection);
        let events = events(tape.spikes(projection.presynaptic), projection, mask);
        RowEvents::of(&events, pooled.channels, pooled.positions(), tape.steps)
    }

    /// Adds up what reaches the readout.
    fn read_out(&self, tape: &Tape, outcome: &mut Outcome) {
        let projection = &self.graph.readout;
        let Synapse::Linear { weight } = projection.synapse else {
            unreachable!("checked with the graph")
        };
        let classes = self.graph.classes;
        let matrix = self.matrix(projection, weight, classes, tape);
        let width = linear::TILE * linear::PANEL;
        let first = outcome.by_step.len();
        outcome.by_step.resize(first + tape.steps * self.batch * classes, 0.0);
        let steps = tape.steps;
        for panel in 0..classes.div_ceil(width) {
            let currents = vectors().dispatch(Currents { matrix: &matrix, panel });
            let rows = self.batch * steps;
            for (index, currents) in currents.chunks_exact(linear::TILE).enumerate() {
                let (tile, row) = (panel * linear::PANEL + index / rows, index % rows);
                let columns = tile * linear::TILE..classes.min((tile + 1) * linear::TILE);
                let at = first + (row % steps * self.batch + row / steps) * classes;
                outcome.by_step[at..][columns.clone()].copy_from_slice(&currents[..columns.len()]);
            }
        }
        for currents in outcome.by_step[first..].chunks_exact(self.batch * classes) {
            for (sum, current) in outcome.readout.iter_mut().zip(currents) {
                *sum += current;
            }
        }
    }
}

/// The squares of counts `[batch, channels, height, width]`, added up over the channels.
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

/// Maps `[batch, channels, height, width]` as `[tile][image][position][lane]`.
pub(crate) fn tiled(maps: &[f32], grid: Grid, batch: usize) -> Scratch {
    let Shape { channels, .. } = grid.shape;
    let positions = grid.shape.positions();
    // All of it is written.
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

/// All steps of one tile of one image.
struct RunUnit<'a> {
    unit: Unit<'a>,
    grid: Grid,
    neurons: Neurons,
    words: &'a mut [u16],
    u: &'a mut [f32],
    /// `[step][position][lane]`.
    saved: PartMut<'a>,
}

impl WithSimd for RunUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut unit, grid, neurons, words, u, mut saved } = self;
        let (width, tile) = (grid.shape.width, grid.tile);
        let mut own = vec![0.0; width * tile];
        let by_step = words.chunks_exact_mut(grid.shape.positions() * grid.words());
        for (step, words) in by_step.enumerate() {
            let rows = words.chunks_exact_mut(width * grid.words());
            let rows = rows.zip(u.chunks_exact_mut(width * tile));
            for (row, (words, u)) in rows.enumerate() {
                let place = (step * grid.shape.height + row) * width * tile;
                let currents = match &mut saved {
                    PartMut::Currents(saved) => &mut saved[place..][..width * tile],
                    PartMut::SurrogateQ8(_) | PartMut::Nothing => &mut own[..],
                };
                neurons.step(simd, u, unit.currents(simd, step, row, currents), words);
                if let PartMut::SurrogateQ8(saved) = &mut saved {
                    neurons.surrogate_q8(u, &mut saved[place..][..width * tile]);
                }
            }
        }
    }
}

/// All images and steps of one panel of a linear layer.
struct RunMatrix<'a> {
    matrix: &'a Matrix<'a>,
    panel: usize,
    neurons: Neurons,
    steps: usize,
    words: &'a mut [u16],
    u: &'a mut [f32],
    /// `[tile][image][step][lane]`.
    saved: PartMut<'a>,
}

impl WithSimd for RunMatrix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, panel, neurons, steps, words, u, saved } = self;
        let (mut currents, mut surrogate_q8) = (None, None);
        match saved {
            PartMut::Nothing => {}
            PartMut::Currents(saved) => currents = Some(saved),
            PartMut::SurrogateQ8(saved) => surrogate_q8 = Some(saved),
        }
        let mut own = Scratch::new(if currents.is_some() { 0 } else { matrix.size(panel) });
        let currents = currents.unwrap_or(&mut own);
        currents.fill(0.0);
        matrix.add_currents(simd, panel, currents);
        let images =
            currents.chunks_exact(steps * linear::TILE).zip(u.chunks_exact_mut(linear::TILE));
        let words_of_image = steps * (linear::TILE / crate::event::simd::LANES);
        let images = images.zip(words.chunks_exact_mut(words_of_image)).enumerate();
        for (image, ((currents, u), words)) in images {
            let by_step = currents.chunks_exact(linear::TILE);
            let words = words.chunks_exact_mut(linear::TILE / crate::event::simd::LANES);
            for (step, (currents, words)) in by_step.zip(words).enumerate() {
                neurons.step(simd, u, currents, words);
                if let Some(surrogate_q8) = &mut surrogate_q8 {
                    let place = (image * steps + step) * linear::TILE;
                    neurons.surrogate_q8(u, &mut surrogate_q8[place..][..linear::TILE]);
                }
            }
        }
    }
}

/// The currents of one panel of a matrix.
pub(crate) struct Currents<'a> {
    pub matrix: &'a Matrix<'a>,
    pub panel: usize,
}

impl WithSimd for Currents<'_> {
    type Output = Scratch;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Scratch {
        let mut currents = Scratch::zeros(self.matrix.size(self.panel));
        self.matrix.add_currents(simd, self.panel, &mut currents);
        currents
    }
}
