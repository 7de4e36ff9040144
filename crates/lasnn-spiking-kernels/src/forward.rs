//! A pass from the input to the readout.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use super::circuit::{Call, Connection, Drive, Shape, Source};
use super::convolution::{Unit, events, feeds, grid};
use super::linear::{self, Matrix, RowEvents};
use super::neuron::Neurons;
use super::spikes::{Grid, Spikes};
use super::tape::{Keep, Kept, PartMut, Tape};
use super::tiles::{self, Frames};
use super::weights::WeightFormat;
use lasnn_gemm::transpose::transpose;

/// Rows of images and steps that a pass without history runs at once: enough for a wide matrix to
/// be read once for many, few enough that memory does not grow with the number of steps.
const CHUNK_ROWS: usize = 256;

/// The membrane potentials of a circuit between two passes.
#[derive(Debug)]
pub struct Membranes {
    /// By site, `[tile][image][position][lane]`.
    sites: Vec<Scratch>,
}

/// What a pass shows of the spikes of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
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
    /// How often each neuron of each site fired, `[batch, channels, height, width]`; empty where
    /// not asked for.
    pub counts: Vec<Vec<f32>>,
    /// The squares of that, added up over the channels, `[batch, height, width]`; empty where not asked for.
    pub squares: Vec<Vec<f32>>,
}

impl Call<'_> {
    /// The membrane potentials of neurons at rest.
    pub fn rest(&self) -> Membranes {
        let of = |(site, _): (usize, _)| {
            let grid = self.grid(site);
            Scratch::zeros_together(grid.lanes() * grid.shape.positions() * self.batch)
        };
        Membranes { sites: self.circuit.sites.iter().enumerate().map(of).collect() }
    }

    /// Runs `steps` time steps on from `membranes`, in pieces, and keeps no history. `shown` says what is
    /// shown of each site.
    pub fn advance(
        &self,
        drive: Drive<'_>,
        steps: usize,
        membranes: &mut Membranes,
        shown: &[Show],
    ) -> Outcome {
        // Only what is recorded is rounded.
        let call = Self { precision: Precision::F32, ..*self };
        // Squares are those of all pieces.
        let mut outcome = self.nothing(shown, |show| show != Show::Nothing);
        let piece = (CHUNK_ROWS / self.batch.max(1)).max(1);
        for first in (0..steps).step_by(piece) {
            let range = first..steps.min(first + piece);
            let drive = match drive {
                Drive::Spikes(spikes) => {
                    let step = self.circuit.input.neurons() * self.batch;
                    Drive::Spikes(&spikes[range.start * step..range.end * step])
                }
                constant => constant,
            };
            call.run(drive, range.len(), membranes, &mut outcome, &[]);
        }
        let sites = self.circuit.sites.iter().zip(shown).enumerate();
        for (index, (site, _)) in sites.filter(|(_, (_, show))| **show == Show::Squares) {
            let counts = std::mem::take(&mut outcome.counts[index]);
            outcome.squares[index] = squares(&counts, site.shape);
        }
        outcome
    }

    /// Runs `steps` time steps from rest and records them for [`Call::backward`].
    pub fn record(&self, drive: Drive<'_>, steps: usize, shown: &[Show]) -> (Outcome, Tape) {
        let mut outcome = self.nothing(shown, |show| show == Show::Counts);
        let tape = self.run(drive, steps, &mut self.rest(), &mut outcome, &self.keeps());
        let sites = tape.sites.iter().zip(shown).zip(&mut outcome.squares);
        for ((spikes, _), squares) in sites.filter(|((_, show), _)| **show == Show::Squares) {
            *squares = spikes.squares();
        }
        (outcome, tape)
    }

    fn nothing(&self, shown: &[Show], is_counted: impl Fn(Show) -> bool) -> Outcome {
        let counts = self.circuit.sites.iter().zip(shown).map(|(site, &show)| {
            vec![0.0; if is_counted(show) { site.shape.neurons() * self.batch } else { 0 }]
        });
        Outcome {
            readout: vec![0.0; self.batch * self.circuit.classes],
            by_step: Vec::new(),
            counts: counts.collect(),
            squares: vec![Vec::new(); self.circuit.sites.len()],
        }
    }

    /// How the map of a site is cut.
    pub(super) fn grid(&self, site: usize) -> Grid {
        let site = &self.circuit.sites[site];
        match site.sources.first().map(|source| source.connection) {
            Some(Connection::Linear { .. }) => Grid { shape: site.shape, tile: linear::TILE },
            _ => grid(self, site.shape, &site.sources),
        }
    }

    /// One piece of a pass. Of each site the tape keeps what `keep` says, or nothing.
    fn run(
        &self,
        drive: Drive<'_>,
        steps: usize,
        membranes: &mut Membranes,
        outcome: &mut Outcome,
        keep: &[Keep],
    ) -> Tape {
        let (input, constant) = match drive {
            Drive::Spikes(spikes) => {
                (Some(Spikes::of(spikes, self.circuit.input, self.batch, steps)), None)
            }
            Drive::Currents(currents) => (None, Some(tiled(currents, self.grid(0), self.batch))),
        };
        let mut tape = Tape { input, constant, sites: Vec::new(), kept: Vec::new(), steps };
        for (index, membranes) in membranes.sites.iter_mut().enumerate() {
            let keep = keep.get(index).copied().unwrap_or(Keep::Nothing);
            let (spikes, kept) = self.run_site(index, &tape, membranes, keep);
            if let Some(counts) = outcome.counts.get_mut(index).filter(|counts| !counts.is_empty())
            {
                spikes.count(counts);
            }
            tape.sites.push(spikes);
            tape.kept.push(kept);
        }
        self.read_out(&tape, outcome);
        tape
    }

    /// The spikes of one site, and what is kept beside them.
    fn run_site(
        &self,
        index: usize,
        tape: &Tape,
        membranes: &mut [f32],
        keep: Keep,
    ) -> (Spikes, Kept) {
        let grid = self.grid(index);
        let steps = tape.steps;
        let mut spikes = Spikes::silent(grid, self.batch, steps);
        let frame = grid.shape.positions() * grid.tile;
        let mut kept = Kept::new(keep, grid.tiles() * self.batch * steps * frame);
        let sources = &self.circuit.sites[index].sources;
        let neurons = self.neurons[index];
        if let [source @ Source { connection: Connection::Linear { weight }, .. }] = sources[..] {
            let matrix = &self.matrix(&source, weight, grid.shape.channels, tape);
            let images = linear::PANEL * self.batch;
            let panels = spikes.words.par_chunks_mut(images * steps * grid.words());
            let panels = panels.zip(membranes.par_chunks_mut(images * grid.tile)).enumerate();
            let size = images * steps * grid.tile;
            let kept = kept.parts_mut([size; 2], panels.len());
            panels.zip(kept).for_each(|((panel, (words, u)), kept)| {
                vectors().dispatch(RunMatrix { matrix, panel, neurons, steps, words, u, kept });
            });
        } else if self.is_tiled(index) {
            tiles::run_maps(self, index, tape, membranes, (&mut spikes, &mut kept));
        } else {
            let from: Vec<&Spikes> =
                sources.iter().map(|source| tape.spikes(source.origin)).collect();
            let feeds = feeds(self, sources, grid, &from);
            let constant = tape.constant.as_deref().filter(|_| sources.is_empty());
            let size = spikes.image_words();
            let units = spikes.words.par_chunks_mut(size);
            let units = units.zip(membranes.par_chunks_mut(frame)).enumerate();
            let kept = kept.parts_mut([steps * frame; 2], units.len());
            units.zip(kept).for_each(|((index, (words, u)), kept)| {
                let unit = Unit::new(grid, index, self.batch, &feeds, constant);
                vectors().dispatch(RunUnit { unit, grid, neurons, words, u, kept });
            });
        }
        (spikes, kept)
    }

    /// What a spike counts for behind the view of a source.
    pub(super) fn scale(&self, source: &Source) -> f32 {
        source.view.scale() * self.mask(source).map_or(1.0, |mask| mask.factor())
    }

    /// The matrix of a linear source.
    pub(super) fn matrix<'a>(
        &'a self,
        source: &Source,
        weight: usize,
        outputs: usize,
        tape: &Tape,
    ) -> Matrix<'a> {
        let spikes = tape.spikes(source.origin);
        let packed = self.prepared.map(|prepared| prepared.weight(weight));
        let format = self.format();
        let (events, blocks, dense) = match format {
            WeightFormat::Bf16 if tiles::fit(&source.view) => {
                let mask = self.mask(source);
                let frames = Frames::of(spikes, &source.view, mask, 0..spikes.batch);
                (RowEvents::none(spikes.frames()), Vec::new(), Some(frames))
            }
            format => {
                let events = self.row_events(source, tape);
                let rows = self.circuit.seen(source).neurons();
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
            scale: self.scale(source),
        }
    }

    /// The rows of its matrix that a linear source names.
    pub(super) fn row_events(&self, source: &Source, tape: &Tape) -> RowEvents {
        let seen = self.circuit.seen(source);
        let mask = self.mask(source);
        let events = events(tape.spikes(source.origin), source, mask);
        RowEvents::of(&events, seen.channels, seen.positions(), tape.steps)
    }

    /// Adds up what reaches the readout.
    fn read_out(&self, tape: &Tape, outcome: &mut Outcome) {
        let source = &self.circuit.readout;
        let Connection::Linear { weight } = source.connection else {
            unreachable!("checked with the circuit")
        };
        let classes = self.circuit.classes;
        let matrix = self.matrix(source, weight, classes, tape);
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
    let images = counts.chunks_exact(shape.neurons()).zip(sums.chunks_exact_mut(shape.positions()));
    for (maps, sums) in images {
        for map in maps.chunks_exact(shape.positions()) {
            sums.iter_mut().zip(map).for_each(|(sum, count)| *sum += count * count);
        }
    }
    sums
}

/// Maps `[batch, channels, height, width]` as `[tile][image][position][lane]`.
pub(super) fn tiled(maps: &[f32], grid: Grid, batch: usize) -> Scratch {
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
    kept: PartMut<'a>,
}

impl WithSimd for RunUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut unit, grid, neurons, words, u, mut kept } = self;
        let (width, tile) = (grid.shape.width, grid.tile);
        let mut own = vec![0.0; width * tile];
        let by_step = words.chunks_exact_mut(grid.shape.positions() * grid.words());
        for (step, words) in by_step.enumerate() {
            let rows = words.chunks_exact_mut(width * grid.words());
            let rows = rows.zip(u.chunks_exact_mut(width * tile));
            for (row, (words, u)) in rows.enumerate() {
                let place = (step * grid.shape.height + row) * width * tile;
                let currents = match &mut kept {
                    PartMut::Currents(kept) => &mut kept[place..][..width * tile],
                    PartMut::Slopes(_) | PartMut::Nothing => &mut own[..],
                };
                neurons.step(simd, u, unit.currents(simd, step, row, currents), words);
                if let PartMut::Slopes(kept) = &mut kept {
                    neurons.slopes(u, &mut kept[place..][..width * tile]);
                }
            }
        }
    }
}

/// All images and steps of one panel of a linear site.
struct RunMatrix<'a> {
    matrix: &'a Matrix<'a>,
    panel: usize,
    neurons: Neurons,
    steps: usize,
    words: &'a mut [u16],
    u: &'a mut [f32],
    /// `[tile][image][step][lane]`.
    kept: PartMut<'a>,
}

impl WithSimd for RunMatrix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, panel, neurons, steps, words, u, kept } = self;
        let (mut currents, mut slopes) = (None, None);
        match kept {
            PartMut::Nothing => {}
            PartMut::Currents(kept) => currents = Some(kept),
            PartMut::Slopes(kept) => slopes = Some(kept),
        }
        let mut own = Scratch::new(if currents.is_some() { 0 } else { matrix.size(panel) });
        let currents = currents.unwrap_or(&mut own);
        currents.fill(0.0);
        matrix.add_currents(simd, panel, currents);
        let images =
            currents.chunks_exact(steps * linear::TILE).zip(u.chunks_exact_mut(linear::TILE));
        let words_of_image = steps * (linear::TILE / super::simd::LANES);
        let images = images.zip(words.chunks_exact_mut(words_of_image)).enumerate();
        for (image, ((currents, u), words)) in images {
            let by_step = currents.chunks_exact(linear::TILE);
            let words = words.chunks_exact_mut(linear::TILE / super::simd::LANES);
            for (step, (currents, words)) in by_step.zip(words).enumerate() {
                neurons.step(simd, u, currents, words);
                if let Some(slopes) = &mut slopes {
                    let place = (image * steps + step) * linear::TILE;
                    neurons.slopes(u, &mut slopes[place..][..linear::TILE]);
                }
            }
        }
    }
}

/// The currents of one panel of a matrix.
pub(super) struct Currents<'a> {
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
