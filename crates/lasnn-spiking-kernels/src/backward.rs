//! A pass back from the readout to the weights.
//!
//! NeuronLayers are taken from the last to the first. Downstream matrices all images are taken at once, so
//! that every matrix comes from memory once; on maps as many at a time as a bounded amount of
//! memory allows, since gradients of membranes are the largest thing that training holds.

mod maps;

use std::ops::Range;

use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::matrix::{self, Matrix};
use lasnn_gemm::memory::Scratch;

use crate::args::ForwardArgs;
use crate::bf16;
use crate::event::list::Allowed;
use crate::event::simd::LANES;
use crate::event::weight_grad;
use crate::f32::bptt::{ByStep, SpikeGrads, linear_layer};
use crate::f32::input_grad::{self, OutputGrad};
use crate::graph::{Presynaptic, Projection, Synapse};
use crate::tape::Tape;
use lasnn_gemm::transpose::transpose;

/// The gradient of a loss with respect to what a pass left.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeGrad<'a> {
    /// With respect to what the readout has integrated, `[batch, classes]`.
    pub readout: &'a [f32],
    /// With respect to how often the neurons of each layer fired, `[batch, channels, height,
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
    /// With respect to the constant currents of the first layer, `[batch, channels, height, width]`.
    pub currents: Option<Vec<f32>>,
}

impl ForwardArgs<'_> {
    /// The gradients of a recorded pass. Spikes take the derivative of their surrogate; what a reset
    /// takes away is held constant.
    pub fn backward(&self, tape: &Tape, grad: OutcomeGrad<'_>) -> Gradients {
        let mut pass = Back {
            args: self,
            tape,
            pending: self.start(tape, grad),
            weights: vec![Vec::new(); self.weights.len()],
            currents: None,
        };
        pass.readout(grad.readout);
        let layers = &self.graph.layers;
        let linear = |layer: &usize| layers[*layer].is_linear();
        let behind_maps = layers.len() - (0..layers.len()).rev().take_while(linear).count();
        for layer in (behind_maps..layers.len()).rev() {
            pass.linear(layer);
        }
        pass.maps(behind_maps);
        Gradients { weights: pass.weights, currents: pass.currents }
    }

    /// The gradients that the loss has for counts of spikes.
    fn start(&self, tape: &Tape, grad: OutcomeGrad<'_>) -> Vec<SpikeGrads> {
        let of = |layer: usize| {
            let grid = self.grid(layer);
            let positions = grid.shape.positions();
            let by_position = |maps| transposed(maps, positions, grid.lanes(), self.batch);
            let mut constant = grad.counts.get(layer).copied().flatten().map(by_position);
            if let Some(squares) = grad.squares.get(layer).copied().flatten() {
                let size = self.batch * positions * grid.lanes();
                let constant = constant.get_or_insert_with(|| Scratch::zeros_parallel(size));
                tape.layers[layer].squares_back(squares, constant);
            }
            SpikeGrads { constant, ..SpikeGrads::default() }
        };
        (0..self.graph.layers.len()).map(of).collect()
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
    args: &'a ForwardArgs<'a>,
    tape: &'a Tape,
    /// By layer.
    pending: Vec<SpikeGrads>,
    weights: Vec<Vec<f32>>,
    currents: Option<Vec<f32>>,
}

impl Back<'_> {
    /// The readout: the same gradient at every step.
    fn readout(&mut self, grad: &[f32]) {
        let args = self.args;
        let projection = args.graph.readout;
        let Synapse::Linear { weight } = projection.synapse else {
            unreachable!("checked with the graph")
        };
        let classes = args.graph.classes;
        let (weights, scale) = (args.weights[weight], args.scale(&projection));
        let events = args.row_events(&projection, self.tape);
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
        let inputs = multiply(grad, weights, args.batch, classes);
        self.receive_constant(&projection, inputs);
    }

    /// Adds a gradient `[image][channel][position of the pooling]` that is the same at every step.
    fn receive_constant(&mut self, projection: &Projection, gradient: Scratch) {
        let Presynaptic::NeuronLayer(layer) = projection.presynaptic else { return };
        let part = self.by_step(projection, gradient, 0..self.args.batch, true);
        let grid = self.args.grid(layer);
        let size = self.args.batch * grid.shape.positions() * grid.lanes();
        let constant =
            self.pending[layer].constant.get_or_insert_with(|| Scratch::zeros_parallel(size));
        let row = grid.shape.width * grid.lanes();
        constant.par_chunks_mut(row).enumerate().for_each(|(index, to)| {
            let (image, row) = (index / grid.shape.height, index % grid.shape.height);
            part.add_row(grid, image, row, to);
        });
    }

    /// A gradient downstream the pooling of a projection; `by_channel` says that it comes as
    /// `[frame][channel][position]`.
    fn by_step(
        &self,
        projection: &Projection,
        gradient: Scratch,
        images: Range<usize>,
        by_channel: bool,
    ) -> ByStep {
        let args = self.args;
        let pooled = args.graph.pooled(projection);
        let (positions, lanes) = (pooled.positions(), lanes(args, projection.presynaptic));
        let frames = gradient.len() / if by_channel { pooled.len() } else { positions * lanes };
        let gradient = match by_channel && (positions > 1 || lanes != pooled.channels) {
            true => transposed(&gradient, positions, lanes, frames),
            false => gradient,
        };
        let mask = self.silenced(projection, images);
        ByStep { pooling: projection.pooling, scale: args.scale(projection), mask, gradient }
    }

    /// The mask in the pooling of a projection, 0 or 1 for `[image][position of the pooling][lane]`.
    fn silenced(&self, projection: &Projection, images: Range<usize>) -> Option<Scratch> {
        let mask = self.args.mask(projection)?;
        let pooled = self.args.graph.pooled(projection);
        let (lanes, positions) = (lanes(self.args, projection.presynaptic), pooled.positions());
        let mut silenced = Scratch::new(images.len() * positions * lanes);
        let rows = silenced.par_chunks_exact_mut(positions * lanes).zip(images);
        rows.for_each(|(to, image)| {
            let allowed = Allowed::of(mask, image, pooled);
            for (position, to) in to.chunks_exact_mut(lanes).enumerate() {
                for (lane, to) in to.iter_mut().enumerate() {
                    let bit = allowed.word(position, lane / LANES) >> (lane % LANES) & 1;
                    *to = f32::from(bit);
                }
            }
        });
        Some(silenced)
    }

    /// A layer downstream a matrix, all images at once.
    fn linear(&mut self, layer: usize) {
        let args = self.args;
        let [projection] = args.graph.layers[layer].projections[..] else { return };
        let Synapse::Linear { weight } = projection.synapse else { return };
        let grid = args.grid(layer);
        let outputs = grid.shape.channels;
        let pending = std::mem::take(&mut self.pending[layer]);
        let (images, steps) = (args.batch, self.tape.steps);
        let saved = &self.tape.saved[layer];
        let neurons = args.neurons[layer];
        let matrix =
            saved.is_nothing().then(|| args.matrix(&projection, weight, outputs, self.tape));
        let membrane_grad =
            linear_layer(matrix.as_ref(), saved, neurons, &pending, grid, (images, steps));
        drop(pending);
        let (weights, scale) = (args.weights[weight], args.scale(&projection));
        let spikes = self.tape.spikes(projection.presynaptic);
        self.weights[weight] = if args.uses_bf16() && bf16::fit(&projection.pooling) {
            let spikes = (spikes, &projection.pooling, args.mask(&projection));
            bf16::matrix_grad(spikes, outputs, &membrane_grad, grid.tile, scale)
        } else {
            let inputs = weights.len() / outputs;
            let events = match matrix {
                Some(matrix) => matrix.events,
                None => args.row_events(&projection, self.tape),
            };
            let (shape, events) = ((inputs, outputs), events.by_row(inputs));
            weight_grad::matrix(shape, &events, &membrane_grad, grid.tile, scale)
        };
        let Presynaptic::NeuronLayer(presynaptic) = projection.presynaptic else { return };
        let pooled = args.graph.pooled(&projection);
        let to = (pooled.positions(), lanes(args, projection.presynaptic));
        let grad = OutputGrad { membrane_grad: &membrane_grad, tile: grid.tile, outputs };
        let gradient = input_grad::matrix(weights, grad, to, args.precision);
        let part = self.by_step(&projection, gradient, 0..images, false);
        self.pending[presynaptic].by_step.push(part);
    }
}

/// Lanes of an presynaptic.
fn lanes(args: &ForwardArgs<'_>, presynaptic: Presynaptic) -> usize {
    match presynaptic {
        Presynaptic::NeuronLayer(layer) => args.grid(layer).lanes(),
        Presynaptic::Input => args.graph.input.channels,
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
