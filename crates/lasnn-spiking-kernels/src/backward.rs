//! The backward pass, from the readout to the weights.
//!
//! Layers are visited from the last to the first. Linear layers take all images at once, so that
//! each matrix comes from memory once. Layers on feature maps take as many images at once as a
//! bounded amount of memory holds, because membrane gradients are the largest thing that training
//! holds.

mod conv;
mod loss;
mod maps;
mod membrane_grads;

use std::ops::Range;

use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::matrix::{self, Matrix};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::transpose::transpose;

use crate::args::ForwardArgs;
use crate::bf16;
use crate::event::list::Allowed;
use crate::event::weight_grad;
use crate::event::weights::WeightFormat;
use crate::f32::input_grad::{self, OutputGrad};
use crate::f32::linear_bptt::LinearPass;
use crate::f32::spike_grads::{ByStep, SpikeGrads};
use crate::graph::{Presynaptic, Projection, Synapse};
use crate::layout;
use crate::neuron::LaneParams;
use crate::param_grads::{LayerGrads, Wanted};
use crate::spikes::LANES;
use crate::tape::Tape;

pub use loss::OutcomeGrad;

/// The gradients of a loss with respect to the inputs of a pass.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// By parameter, in its shape. It is empty for parameters that are not trained or that the
    /// graph does not name.
    pub params: Vec<Vec<f32>>,
    /// With respect to the constant currents of the first layer, `[batch, channels, height,
    /// width]`, if the input is currents.
    pub currents: Option<Vec<f32>>,
}

impl ForwardArgs<'_> {
    /// The gradients of a recorded pass, by back-propagation through time.
    ///
    /// The derivative of a spike is that of its surrogate. No gradient passes the reset. The
    /// arguments must be those with which the pass was recorded.
    ///
    /// # Panics
    ///
    /// Panics if a surrogate does not follow from `z` ([`Surrogate::follows_from_z`]), since the
    /// kernels have no state for it.
    ///
    /// [`Surrogate::follows_from_z`]: crate::Surrogate::follows_from_z
    pub fn backward(&self, tape: &Tape, grad: OutcomeGrad<'_>) -> Gradients {
        for options in self.neurons {
            let surrogate = options.surrogate;
            assert!(surrogate.follows_from_z(), "no kernel for `{}`", surrogate.kind());
        }
        let mut pass = BackwardPass {
            args: self,
            tape,
            pending: self.loss_grads(tape, grad),
            params: vec![Vec::new(); self.params.len()],
            currents: None,
        };
        pass.readout(grad);
        let layers = &self.graph.layers;
        let linear = |layer: &usize| layers[*layer].is_linear();
        let first_linear = layers.len() - (0..layers.len()).rev().take_while(linear).count();
        for layer in (first_linear..layers.len()).rev() {
            pass.linear(layer);
        }
        pass.maps(first_linear);
        Gradients { params: pass.params, currents: pass.currents }
    }
}

/// A backward pass and the gradients that it has computed so far.
struct BackwardPass<'a> {
    args: &'a ForwardArgs<'a>,
    tape: &'a Tape,
    /// By layer: the gradients from the loss and from the layers visited so far.
    pending: Vec<SpikeGrads>,
    params: Vec<Vec<f32>>,
    currents: Option<Vec<f32>>,
}

impl BackwardPass<'_> {
    /// The readout. A part of its gradient is the same at every time step.
    fn readout(&mut self, OutcomeGrad { readout: grad, by_step, .. }: OutcomeGrad<'_>) {
        let (args, steps) = (self.args, self.tape.steps);
        let projection = args.graph.readout;
        let Synapse::Linear { weight } = projection.synapse else {
            unreachable!("`Graph::check` accepts only a linear readout")
        };
        let classes = args.graph.classes;
        let (weights, scale) = (args.params[weight], args.scale(&projection));
        if let Some(bias) = args.graph.readout_bias.filter(|&bias| args.is_trained(bias)) {
            let mut sums = column_sums(grad, classes, steps as f32);
            if let Some(by_step) = by_step {
                let more = column_sums(by_step, classes, 1.0);
                sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
            self.params[bias] = sums;
        }
        let events = args.row_events(&projection, self.tape);
        let mut gradient = vec![0.0; weights.len()];
        // [frame][class]; frames are images times steps.
        let of_frames = by_step.map(|by_step| {
            let mut of_frames = Scratch::new(events.frames() * classes);
            for (frame, to) in of_frames.chunks_exact_mut(classes).enumerate() {
                let (image, step) = (frame / steps, frame % steps);
                to.copy_from_slice(&by_step[(step * args.batch + image) * classes..][..classes]);
            }
            of_frames
        });
        for frame in 0..events.frames() {
            let mut of_frame = grad[frame / steps * classes..][..classes].to_vec();
            if let Some(of_frames) = &of_frames {
                let more = &of_frames[frame * classes..][..classes];
                of_frame.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
            for &row in events.at(frame) {
                let row = &mut gradient[row as usize * classes..][..classes];
                for (sum, &grad) in row.iter_mut().zip(&of_frame) {
                    *sum += scale * grad;
                }
            }
        }
        if args.is_trained(weight) {
            self.params[weight] = gradient;
        }
        let inputs = multiply_transposed(grad, weights, args.batch, classes);
        self.add_constant(&projection, inputs);
        if let (Some(of_frames), Presynaptic::NeuronLayer(layer)) =
            (of_frames, projection.presynaptic)
        {
            let inputs = multiply_transposed(&of_frames, weights, args.batch * steps, classes);
            let part = self.by_step(&projection, inputs, 0..args.batch, true);
            self.pending[layer].by_step.push(part);
        }
    }

    /// Adds a gradient `[image][channel][pooled position]` that is the same at every time step to
    /// the presynaptic layer of a projection.
    fn add_constant(&mut self, projection: &Projection, gradient: Scratch) {
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

    /// A linear layer, all images at once.
    fn linear(&mut self, layer: usize) {
        let args = self.args;
        let [projection] = args.graph.layers[layer].projections[..] else { return };
        let Synapse::Linear { weight } = projection.synapse else { return };
        let grid = args.grid(layer);
        let outputs = grid.shape.channels;
        let pending = std::mem::take(&mut self.pending[layer]);
        let images = args.batch;
        let saved = &self.tape.saved[layer];
        let matrix =
            saved.is_nothing().then(|| args.matrix(&projection, weight, outputs, self.tape));
        let linear = LinearPass {
            grid,
            params: &LaneParams::of(args, layer),
            matrix: matrix.as_ref(),
            saved,
            spikes: &self.tape.layers[layer],
            spike_grads: &pending,
        };
        let mut layer_grads = LayerGrads::new(Wanted::of(args, layer), grid);
        let membrane_grad = linear.membrane_grad(&mut layer_grads);
        layer_grads.add_to(&mut self.params, args, layer);
        drop(pending);
        let (weights, scale) = (args.params[weight], args.scale(&projection));
        let is_dense = layout::takes_tiles(&projection.pooling, WeightFormat::Bf16);
        let weight_grad = if !args.is_trained(weight) {
            Vec::new()
        } else if args.uses_bf16() && is_dense {
            let spikes = self.tape.spikes(projection.presynaptic);
            let spikes = (spikes, &projection.pooling, args.mask(&projection));
            bf16::matrix_grad(spikes, outputs, &membrane_grad, grid.tile, scale)
        } else {
            let inputs = weights.len() / outputs;
            let events = match matrix.and_then(|matrix| matrix.into_events()) {
                Some(events) => events,
                None => args.row_events(&projection, self.tape),
            };
            let (shape, events) = ((inputs, outputs), events.by_row(inputs));
            weight_grad::matrix(shape, &events, &membrane_grad, grid.tile, scale)
        };
        self.params[weight] = weight_grad;
        let Presynaptic::NeuronLayer(presynaptic) = projection.presynaptic else { return };
        let pooled = args.graph.pooled(&projection);
        let to = (pooled.positions(), lanes(args, projection.presynaptic));
        let grad = OutputGrad { membrane_grad: &membrane_grad, tile: grid.tile, outputs };
        let gradient = input_grad::matrix(weights, grad, to, args.precision);
        let part = self.by_step(&projection, gradient, 0..images, false);
        self.pending[presynaptic].by_step.push(part);
    }

    /// The spike gradient that a projection passes on. `gradient` is with respect to the pooled
    /// spikes, `[frame][channel][pooled position]` if `by_channel`, else
    /// `[frame][pooled position][lane]`.
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
        let mask = self.mask_factors(projection, images);
        ByStep { pooling: projection.pooling, scale: args.scale(projection), mask, gradient }
    }

    /// The mask of a projection, 1 where it keeps a neuron and else 0,
    /// `[image][pooled position][lane]`.
    fn mask_factors(&self, projection: &Projection, images: Range<usize>) -> Option<Scratch> {
        let mask = self.args.mask(projection)?;
        let pooled = self.args.graph.pooled(projection);
        let (lanes, positions) = (lanes(self.args, projection.presynaptic), pooled.positions());
        let mut factors = Scratch::new(images.len() * positions * lanes);
        let rows = factors.par_chunks_exact_mut(positions * lanes).zip(images);
        rows.for_each(|(to, image)| {
            let allowed = Allowed::of(mask, image, pooled);
            for (position, to) in to.chunks_exact_mut(lanes).enumerate() {
                for (lane, to) in to.iter_mut().enumerate() {
                    let bit = allowed.word(position, lane / LANES) >> (lane % LANES) & 1;
                    *to = f32::from(bit);
                }
            }
        });
        Some(factors)
    }
}

/// Lanes of the spikes of a projection.
fn lanes(args: &ForwardArgs<'_>, presynaptic: Presynaptic) -> usize {
    match presynaptic {
        Presynaptic::NeuronLayer(layer) => args.grid(layer).lanes(),
        Presynaptic::Input => args.graph.input.channels,
    }
}

/// `[frame][channel][position]` as `[frame][position][lane]`. Lanes without a channel are zeros.
fn transposed(maps: &[f32], positions: usize, lanes: usize, frames: usize) -> Scratch {
    let size = maps.len() / frames;
    // Every number is written.
    let mut result = Scratch::new(frames * positions * lanes);
    let frames = result.par_chunks_mut(positions * lanes).zip(maps.par_chunks(size));
    frames.for_each(|(result, maps)| {
        if size < result.len() {
            result.fill(0.0);
        }
        transpose((maps, positions), (result, lanes), [size / positions, positions]);
    });
    result
}

/// The sums of the columns of `rows`, times `factor`.
fn column_sums(rows: &[f32], columns: usize, factor: f32) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += factor * number);
    }
    sums
}

/// `left · rightᵀ`: `[rows, inner]` times `[columns, inner]` gives `[rows, columns]`.
fn multiply_transposed(left: &[f32], right: &[f32], rows: usize, inner: usize) -> Scratch {
    let columns = right.len() / inner;
    let mut product = Scratch::new(rows * columns);
    let (left, right) = (Matrix::rows(left, [rows, inner]), Matrix::rows(right, [columns, inner]));
    matrix::multiply(Precision::F32, left, right.transposed(), &mut product);
    product
}
