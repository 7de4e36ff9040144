//! A pass back from the readout to the weights.
//!
//! Sites are taken from the last to the first. Behind matrices all images are taken at once, so
//! that every matrix comes from memory once; on maps as many at a time as a bounded amount of
//! memory allows, since gradients of membranes are the largest thing that training holds.

mod maps;

use std::ops::Range;

use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::matrix::{self, Matrix};
use lasnn_gemm::memory::Scratch;

use super::circuit::{Call, Connection, Origin, Source};
use super::events::Allowed;
use super::input_grad::{self, OutputGrad};
use super::simd::LANES;
use super::site_grad::{ByStep, Pending, linear_site};
use super::tape::Tape;
use super::{tiles, weight_grad};
use lasnn_gemm::transpose::transpose;

/// The gradient of a loss with respect to what a pass left.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeGrad<'a> {
    /// With respect to what the readout has integrated, `[batch, classes]`.
    pub readout: &'a [f32],
    /// With respect to how often the neurons of each site fired, `[batch, channels, height,
    /// width]`, where the loss depends on it.
    pub counts: &'a [Option<&'a [f32]>],
    /// With respect to the squares of that, added up over the channels, `[batch, height, width]`, where the
    /// loss depends on it.
    pub squares: &'a [Option<&'a [f32]>],
}

/// Gradients of what went into a pass.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// By weight, in its layout.
    pub weights: Vec<Vec<f32>>,
    /// With respect to the constant currents of the first site, `[batch, channels, height, width]`.
    pub currents: Option<Vec<f32>>,
}

impl Call<'_> {
    /// The gradients of a recorded pass. Spikes take the derivative of their surrogate; what a reset
    /// takes away is held constant.
    pub fn backward(&self, tape: &Tape, grad: OutcomeGrad<'_>) -> Gradients {
        let mut pass = Back {
            call: self,
            tape,
            pending: self.start(tape, grad),
            weights: vec![Vec::new(); self.weights.len()],
            currents: None,
        };
        pass.readout(grad.readout);
        let sites = &self.circuit.sites;
        let linear = |site: &usize| sites[*site].is_linear();
        let behind_maps = sites.len() - (0..sites.len()).rev().take_while(linear).count();
        for site in (behind_maps..sites.len()).rev() {
            pass.linear(site);
        }
        pass.maps(behind_maps);
        Gradients { weights: pass.weights, currents: pass.currents }
    }

    /// The gradients that the loss has for counts of spikes.
    fn start(&self, tape: &Tape, grad: OutcomeGrad<'_>) -> Vec<Pending> {
        let of = |site: usize| {
            let grid = self.grid(site);
            let positions = grid.shape.positions();
            let by_position = |maps| transposed(maps, positions, grid.lanes(), self.batch);
            let mut constant = grad.counts.get(site).copied().flatten().map(by_position);
            if let Some(squares) = grad.squares.get(site).copied().flatten() {
                let size = self.batch * positions * grid.lanes();
                let constant = constant.get_or_insert_with(|| Scratch::zeros_together(size));
                tape.sites[site].squares_back(squares, constant);
            }
            Pending { constant, ..Pending::default() }
        };
        (0..self.circuit.sites.len()).map(of).collect()
    }
}

/// `[image][channel][position]` as `[image][position][lane]`, zeros in lanes without a channel.
fn transposed(maps: &[f32], positions: usize, lanes: usize, images: usize) -> Scratch {
    let size = maps.len() / images;
    // All of it is written.
    let mut result = Scratch::new(images * positions * lanes);
    let frames = result.par_chunks_mut(positions * lanes).zip(maps.par_chunks(size));
    frames.for_each(|(result, maps)| {
        if size < result.len() {
            result.fill(0.0);
        }
        transpose((maps, positions), (result, lanes), [size / positions, positions]);
    });
    result
}

/// A pass back on its way.
struct Back<'a> {
    call: &'a Call<'a>,
    tape: &'a Tape,
    /// By site.
    pending: Vec<Pending>,
    weights: Vec<Vec<f32>>,
    currents: Option<Vec<f32>>,
}

impl Back<'_> {
    /// The readout: the same gradient at every step.
    fn readout(&mut self, grad: &[f32]) {
        let call = self.call;
        let source = call.circuit.readout;
        let Connection::Linear { weight } = source.connection else {
            unreachable!("checked with the circuit")
        };
        let classes = call.circuit.classes;
        let (weights, scale) = (call.weights[weight], call.scale(&source));
        let events = call.row_events(&source, self.tape);
        let mut gradient = vec![0.0; weights.len()];
        for index in 0..events.len() {
            let grad = &grad[index / self.tape.steps * classes..][..classes];
            for &row in events.at(index) {
                let row = &mut gradient[row as usize * classes..][..classes];
                for (sum, &grad) in row.iter_mut().zip(grad) {
                    *sum += scale * grad;
                }
            }
        }
        self.weights[weight] = gradient;
        let inputs = multiply(grad, weights, call.batch, classes);
        self.receive_constant(&source, inputs);
    }

    /// Adds a gradient `[image][channel][position of the view]` that is the same at every step.
    fn receive_constant(&mut self, source: &Source, gradient: Scratch) {
        let Origin::Site(site) = source.origin else { return };
        let part = self.by_step(source, gradient, 0..self.call.batch, true);
        let grid = self.call.grid(site);
        let size = self.call.batch * grid.shape.positions() * grid.lanes();
        let constant =
            self.pending[site].constant.get_or_insert_with(|| Scratch::zeros_together(size));
        let row = grid.shape.width * grid.lanes();
        constant.par_chunks_mut(row).enumerate().for_each(|(index, to)| {
            let (image, row) = (index / grid.shape.height, index % grid.shape.height);
            part.add_row(grid, image, row, to);
        });
    }

    /// A gradient behind the view of a source; `by_channel` says that it comes as
    /// `[frame][channel][position]`.
    fn by_step(
        &self,
        source: &Source,
        gradient: Scratch,
        images: Range<usize>,
        by_channel: bool,
    ) -> ByStep {
        let call = self.call;
        let seen = call.circuit.seen(source);
        let (positions, lanes) = (seen.positions(), lanes(call, source.origin));
        let frames = gradient.len() / if by_channel { seen.neurons() } else { positions * lanes };
        let gradient = match by_channel && (positions > 1 || lanes != seen.channels) {
            true => transposed(&gradient, positions, lanes, frames),
            false => gradient,
        };
        let mask = self.silenced(source, images);
        ByStep { view: source.view, scale: call.scale(source), mask, gradient }
    }

    /// The mask in the view of a source, 0 or 1 for `[image][position of the view][lane]`.
    fn silenced(&self, source: &Source, images: Range<usize>) -> Option<Scratch> {
        let mask = self.call.mask(source)?;
        let seen = self.call.circuit.seen(source);
        let (lanes, positions) = (lanes(self.call, source.origin), seen.positions());
        let mut silenced = Scratch::new(images.len() * positions * lanes);
        let rows = silenced.par_chunks_exact_mut(positions * lanes).zip(images);
        rows.for_each(|(to, image)| {
            let allowed = Allowed::of(mask, image, seen);
            for (position, to) in to.chunks_exact_mut(lanes).enumerate() {
                for (lane, to) in to.iter_mut().enumerate() {
                    let bit = allowed.word(position, lane / LANES) >> (lane % LANES) & 1;
                    *to = f32::from(bit);
                }
            }
        });
        Some(silenced)
    }

    /// A site behind a matrix, all images at once.
    fn linear(&mut self, site: usize) {
        let call = self.call;
        let [source] = call.circuit.sites[site].sources[..] else { return };
        let Connection::Linear { weight } = source.connection else { return };
        let grid = call.grid(site);
        let outputs = grid.shape.channels;
        let pending = std::mem::take(&mut self.pending[site]);
        let (images, steps) = (call.batch, self.tape.steps);
        let kept = &self.tape.kept[site];
        let neurons = call.neurons[site];
        let matrix = kept.is_nothing().then(|| call.matrix(&source, weight, outputs, self.tape));
        let delta = linear_site(matrix.as_ref(), kept, neurons, &pending, grid, (images, steps));
        drop(pending);
        let (weights, scale) = (call.weights[weight], call.scale(&source));
        let spikes = self.tape.spikes(source.origin);
        self.weights[weight] = if call.is_rough() && tiles::fit(&source.view) {
            let spikes = (spikes, &source.view, call.mask(&source));
            tiles::matrix_grad(spikes, outputs, &delta, grid.tile, scale)
        } else {
            let inputs = weights.len() / outputs;
            let events = match matrix {
                Some(matrix) => matrix.events,
                None => call.row_events(&source, self.tape),
            };
            let (shape, events) = ((inputs, outputs), events.by_row(inputs));
            weight_grad::matrix(shape, &events, &delta, grid.tile, scale)
        };
        let Origin::Site(origin) = source.origin else { return };
        let seen = call.circuit.seen(&source);
        let to = (seen.positions(), lanes(call, source.origin));
        let grad = OutputGrad { delta: &delta, tile: grid.tile, outputs };
        let gradient = input_grad::matrix(weights, grad, to, call.precision);
        let part = self.by_step(&source, gradient, 0..images, false);
        self.pending[origin].by_step.push(part);
    }
}

/// Lanes of an origin.
fn lanes(call: &Call<'_>, origin: Origin) -> usize {
    match origin {
        Origin::Site(site) => call.grid(site).lanes(),
        Origin::Input => call.circuit.input.channels,
    }
}

/// `left · rightᵀ`: `[rows, inner]` times `[columns, inner]` gives `[rows, columns]`.
fn multiply(left: &[f32], right: &[f32], rows: usize, inner: usize) -> Scratch {
    let columns = right.len() / inner;
    let mut product = Scratch::new(rows * columns);
    let (left, right) = (Matrix::rows(left, [rows, inner]), Matrix::rows(right, [columns, inner]));
    matrix::multiply(Precision::F32, left, right.transposed(), &mut product);
    product
}
