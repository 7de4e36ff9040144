//! All time steps of one layer: its currents, then its neurons.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::args::ForwardArgs;
use crate::bf16;
use crate::currents::Matrix;
use crate::event::conv::Unit;
use crate::event::linear::{PANEL, TILE};
use crate::graph::{Projection, Synapse};
use crate::layout;
use crate::neuron::{LaneParams, TileNeurons};
use crate::spikes::{Grid, LANES, Spikes};
use crate::tape::{LayerRecord, PartMut, RecordPart, SavePolicy, Tape};

impl ForwardArgs<'_> {
    /// Runs one layer. Returns its spikes, the numbers that the tape saves for the backward pass,
    /// and the membrane potentials if `requests.1` is true. `tape` has the spikes of all earlier
    /// layers.
    pub(super) fn run_layer(
        &self,
        layer: usize,
        tape: &Tape,
        membranes: &mut [f32],
        requests: (SavePolicy, bool),
    ) -> (Spikes, LayerRecord) {
        let grid = self.grid(layer);
        let frame = grid.shape.positions() * grid.tile;
        let mut spikes = Spikes::silent(grid, self.batch, tape.steps);
        let length = grid.tiles() * self.batch * tape.steps * frame;
        let mut record = LayerRecord::new(requests, length);
        let buffers = (membranes, &mut spikes, &mut record);
        let projections = &self.graph.layers[layer].projections;
        if let [projection @ Projection { synapse: Synapse::Linear { weight }, .. }] =
            &projections[..]
        {
            let matrix = self.matrix(projection, *weight, grid.shape.channels, tape);
            self.run_linear(layer, &matrix, buffers);
        } else if layout::is_dense(self.graph, layer, self.format()) {
            let (membranes, spikes, record) = buffers;
            bf16::run_maps(self, layer, tape, membranes, (spikes, record));
        } else {
            self.run_maps(layer, tape, buffers);
        }
        (spikes, record)
    }

    /// Runs a linear layer. Threads share its panels.
    fn run_linear(
        &self,
        layer: usize,
        matrix: &Matrix<'_>,
        (membranes, spikes, record): (&mut [f32], &mut Spikes, &mut LayerRecord),
    ) {
        let (grid, steps) = (spikes.grid, spikes.steps);
        let params = &LaneParams::of(self, layer);
        let images = PANEL * self.batch;
        let panels = spikes.words.par_chunks_mut(images * steps * grid.words());
        let panels = panels.zip(membranes.par_chunks_mut(images * grid.tile)).enumerate();
        let records = record.parts_mut([images * steps * grid.tile; 2], panels.len());
        panels.zip(records).for_each(|((panel, (words, u)), record)| {
            vectors().dispatch(RunPanel { matrix, panel, params, steps, words, u, record });
        });
    }

    /// Runs a layer on feature maps. Threads share its tiles and images.
    fn run_maps(
        &self,
        layer: usize,
        tape: &Tape,
        (membranes, spikes, record): (&mut [f32], &mut Spikes, &mut LayerRecord),
    ) {
        let grid = spikes.grid;
        let params = &LaneParams::of(self, layer);
        let projections = &self.graph.layers[layer].projections;
        let from: Vec<&Spikes> =
            projections.iter().map(|projection| tape.spikes(projection.presynaptic)).collect();
        let feeds = self.feeds(projections, grid, &from);
        let constant = tape.constant.as_deref().filter(|_| projections.is_empty());
        let frame = grid.shape.positions() * grid.tile;
        let size = spikes.image_words();
        let units = spikes.words.par_chunks_mut(size);
        let units = units.zip(membranes.par_chunks_mut(frame)).enumerate();
        let records = record.parts_mut([tape.steps * frame; 2], units.len());
        units.zip(records).for_each(|((index, (words, u)), record)| {
            let unit = Unit::new(grid, index, self.batch, (&feeds, params), constant);
            let neurons = params.tile(index / self.batch);
            vectors().dispatch(RunUnit { unit, grid, neurons, words, u, record });
        });
    }
}

/// All time steps of one tile of one image.
struct RunUnit<'a> {
    unit: Unit<'a>,
    grid: Grid,
    neurons: TileNeurons<'a>,
    /// `[step][position][word]`.
    words: &'a mut [u16],
    /// `[position][lane]`.
    u: &'a mut [f32],
    /// `[step][position][lane]`.
    record: RecordPart<'a>,
}

impl WithSimd for RunUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut unit, grid, neurons, words, u, mut record } = self;
        let (width, tile) = (grid.shape.width, grid.tile);
        let mut buffer = vec![0.0; width * tile];
        let by_step = words.chunks_exact_mut(grid.shape.positions() * grid.words());
        for (step, words) in by_step.enumerate() {
            let rows = words.chunks_exact_mut(width * grid.words());
            let rows = rows.zip(u.chunks_exact_mut(width * tile));
            for (row, (words, u)) in rows.enumerate() {
                let place = (step * grid.shape.height + row) * width * tile;
                let currents = match &mut record.saved {
                    PartMut::Currents(saved) => &mut saved[place..][..width * tile],
                    _ => &mut buffer[..],
                };
                neurons.step(simd, u, unit.currents(simd, step, row, currents), words);
                record.write(&neurons, u, place);
            }
        }
    }
}

/// All images and time steps of one panel of a linear layer.
struct RunPanel<'a> {
    matrix: &'a Matrix<'a>,
    panel: usize,
    params: &'a LaneParams,
    steps: usize,
    /// `[tile][image][step][word]`.
    words: &'a mut [u16],
    /// `[tile][image][lane]`.
    u: &'a mut [f32],
    /// `[tile][image][step][lane]`.
    record: RecordPart<'a>,
}

impl WithSimd for RunPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, panel, params, steps, words, u, record } = self;
        let RecordPart { saved, membranes } = record;
        let is_buffered = !matches!(saved, PartMut::Currents(_));
        let mut buffer = Scratch::new(if is_buffered { matrix.size(panel) } else { 0 });
        let (currents, saved) = match saved {
            PartMut::Currents(saved) => (saved, PartMut::Nothing),
            other => (&mut buffer[..], other),
        };
        let mut record = RecordPart { saved, membranes };
        matrix.fill_bias(params, panel, currents);
        matrix.add_currents(simd, panel, currents);
        let batch = matrix.frames() / steps;
        let images = currents.chunks_exact(steps * TILE).zip(u.chunks_exact_mut(TILE));
        let images = images.zip(words.chunks_exact_mut(steps * (TILE / LANES))).enumerate();
        for (index, ((currents, u), words)) in images {
            let neurons = params.tile(panel * PANEL + index / batch);
            let by_step = currents.chunks_exact(TILE).zip(words.chunks_exact_mut(TILE / LANES));
            for (step, (currents, words)) in by_step.enumerate() {
                neurons.step(simd, u, currents, words);
                record.write(&neurons, u, (index * steps + step) * TILE);
            }
        }
    }
}
