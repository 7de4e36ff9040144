//! A small network with its numbers.

#![allow(clippy::unwrap_used)]

use super::super::backward::{Gradients, OutcomeGrad};
use super::super::circuit::{Call, Circuit, Connection, Drive, Origin, Shape, Site, Source, View};
use super::super::forward::{Outcome, Show};
use super::super::neuron::{Neurons, Reset, StepOrder, Surrogate};
use super::super::prepared::Prepared;
use super::super::weights::WeightFormat;
use lasnn_core::Precision;
use lasnn_core::mask::Mask;
use lasnn_gemm::product::bfloat16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub batch: usize,
    pub steps: usize,
}

/// What weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// Small whole numbers, whose sums are exact in any order.
    Whole,
    /// The same, made so long that sums are rounded.
    OfManyBits,
}

/// Small whole numbers, which bfloat16 holds.
fn numbers(count: usize, by: usize) -> Vec<f32> {
    (0..count).map(|i| (i * by % 15) as f32 - 7.0).collect()
}

/// A network of all kinds of sources: behind poolings and masks, of which one cuts neurons off, with a stride,
/// a shortcut with weights and one without, and matrices.
fn circuit() -> Circuit {
    let map = |channels, side| Shape { channels, height: side, width: side };
    let conv = |kernel, stride, weight| Connection::Conv { kernel, stride, weight };
    let source =
        |site, connection| Source { origin: Origin::Site(site), view: View::PLAIN, connection };
    let pooled = |mask| View { pool: [2, 2], mask: Some(mask) };
    let input = Source { origin: Origin::Input, view: pooled(0), connection: conv(3, 1, 0) };
    let behind = Source { view: pooled(1), ..source(2, conv(3, 1, 4)) };
    Circuit {
        input: map(5, 12),
        sites: vec![
            Site { shape: map(40, 6), sources: vec![input] },
            Site {
                shape: map(40, 6),
                sources: vec![source(0, conv(3, 1, 1)), source(0, Connection::Identity)],
            },
            Site {
                shape: map(33, 3),
                sources: vec![source(1, conv(3, 2, 2)), source(1, conv(1, 2, 3))],
            },
            Site { shape: map(70, 1), sources: vec![behind] },
            Site { shape: map(50, 1), sources: vec![source(3, Connection::Linear { weight: 5 })] },
        ],
        readout: source(4, Connection::Linear { weight: 6 }),
        classes: 3,
    }
}

pub(super) struct Network {
    size: Size,
    circuit: Circuit,
    neurons: Vec<Neurons>,
    weights: Vec<Vec<f32>>,
    masks: [Mask; 2],
    /// Spikes, or currents in their place.
    input: Vec<f32>,
    readout_grad: Vec<f32>,
    /// Of the counts of the second site.
    counts_grad: Vec<f32>,
    /// Of its squares.
    squares_grad: Vec<f32>,
}

impl Network {
    /// With currents from outside in place of the first site's source, if it is `driven`.
    pub fn new(size: Size, weights: Weights, step_order: StepOrder, driven: bool) -> Self {
        let Size { batch, steps } = size;
        let mut circuit = circuit();
        let fires = |i: usize| if i * 7919 % 31 < 7 { 1.0 } else { 0.0 };
        let mut input: Vec<f32> = (0..steps * batch * circuit.input.neurons()).map(fires).collect();
        if driven {
            circuit.sites[0].sources.clear();
            input = numbers(batch * 40 * 36, 13).iter().map(|x| x / 2.0).collect();
        }
        circuit.check().unwrap();
        // Whole numbers lie far from most thresholds, so most surrogates are wide.
        let wide = Surrogate::Rectangular { width: 20.0 };
        let narrow = Surrogate::Linear { damping: 0.3 };
        let neurons = [(9.0, wide), (40.0, narrow), (60.0, wide), (9.0, wide), (30.0, wide)];
        let neurons = neurons.map(|(threshold, surrogate)| Neurons {
            threshold,
            leak: 1.0,
            reset: Reset::Subtract,
            step_order,
            surrogate,
        });
        let mask = |size: usize| {
            let factors = (0..batch * size).map(|i| if i % 4 == 0 { 0.0 } else { 2.0 });
            Mask::of(size, &factors.collect::<Vec<f32>>())
        };
        let sizes = [40 * 5 * 9, 40 * 40 * 9, 33 * 40 * 9, 33 * 40, 70 * 33 * 9, 70 * 50, 50 * 3];
        let weight = |i: usize, whole: f32| match weights {
            Weights::Whole => whole,
            Weights::OfManyBits => whole * 0.917_351 + (i as f32).sin(),
        };
        let weights = sizes.map(|size| {
            let weights = numbers(size, 11).into_iter().enumerate();
            weights.map(|(i, whole)| weight(i, whole)).collect()
        });
        Self {
            size,
            circuit,
            neurons: neurons.into(),
            weights: weights.into(),
            masks: [mask(5 * 36), mask(33)],
            input,
            readout_grad: numbers(batch * 3, 5),
            counts_grad: numbers(batch * 40 * 36, 7),
            squares_grad: numbers(batch * 36, 7),
        }
    }

    /// The network of the weights that bfloat16 has for these.
    pub fn rounded(mut self) -> Self {
        for weight in self.weights.iter_mut().flatten() {
            *weight = bfloat16(*weight);
        }
        self
    }

    fn with_call<T>(&self, run: impl FnOnce(Call<'_>, Drive<'_>) -> T) -> T {
        let weights: Vec<&[f32]> = self.weights.iter().map(Vec::as_slice).collect();
        let call = Call {
            circuit: &self.circuit,
            neurons: &self.neurons,
            weights: &weights,
            masks: &[Some(self.masks[0].rows()), Some(self.masks[1].rows())],
            batch: self.size.batch,
            prepared: None,
            precision: Precision::F32,
        };
        let driven = self.circuit.sites[0].sources.is_empty();
        let drive = if driven { Drive::Currents(&self.input) } else { Drive::Spikes(&self.input) };
        run(call, drive)
    }

    /// A recorded pass, and its pass back from the readout and from what is shown of the second site.
    pub fn learn(&self, precision: Precision, show: Show) -> (Outcome, Gradients) {
        self.with_call(|call, drive| {
            let call = Call { precision, ..call };
            let (outcome, tape) = call.record(drive, self.size.steps, &[show; 5]);
            let counts = [None, Some(&self.counts_grad[..]), None, None, None];
            let squares = [None, Some(&self.squares_grad[..]), None, None, None];
            let (counts, squares) = match show {
                Show::Squares => (&[][..], &squares[..]),
                _ => (&counts[..], &[][..]),
            };
            let grad = OutcomeGrad { readout: &self.readout_grad, counts, squares };
            (outcome, call.backward(&tape, grad))
        })
    }

    /// A pass without history, with counts.
    pub fn stream(&self, format: WeightFormat) -> Outcome {
        self.with_call(|call, drive| {
            let prepared = Prepared::new(call.circuit, call.weights, format);
            let call = Call { prepared: Some(&prepared), ..call };
            call.advance(drive, self.size.steps, &mut call.rest(), &[Show::Counts; 5])
        })
    }
}
