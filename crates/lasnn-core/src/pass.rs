//! What a forward pass must know beside its input, so that no network keeps hidden state.

use crate::{Mask, Precision};

use crate::random::{Seed, Stream};

/// Whether a forward pass is part of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout acts.
    Train,
    /// Dropout is the identity.
    Evaluate,
}

/// The keys of all random draws of one forward pass, and how it is computed.
///
/// A draw depends on the run's seed, its stream, the epoch and the sample, never on the batch the
/// sample happens to be in: splitting a batch or resuming a run changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Training or evaluation.
    pub mode: Mode,
    /// The run's seed.
    pub seed: Seed,
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The identity of each image of the batch within its data set.
    pub samples: &'a [u32],
    /// What the dense products of the pass, and of the pass back, multiply.
    pub precision: Precision,
}

impl<'a> Pass<'a> {
    /// A pass of the training loop.
    pub fn train(seed: Seed, epoch: u32, samples: &'a [u32]) -> Self {
        Self { mode: Mode::Train, seed, epoch, samples, precision: Precision::F32 }
    }

    /// A pass that measures. Encoders that draw spikes draw the same ones each time.
    pub fn evaluate(seed: Seed, samples: &'a [u32]) -> Self {
        Self { mode: Mode::Evaluate, epoch: 0, ..Self::train(seed, 0, samples) }
    }

    /// The same pass with products of another precision.
    ///
    /// Ordinary networks take it for all their products on backends that have kernels for it, spiking
    /// networks for those of the pass back, so that their spikes stay the same. Others compute with
    /// what their tensors hold.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same pass for some of its samples.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Pass<'a> {
        Pass { samples: &self.samples[range], ..*self }
    }

    /// The dropout mask of a layer, `per_sample` numbers for each sample: zero with `probability`, else
    /// `1 / (1 - probability)`. `None` where dropout does nothing.
    ///
    /// `layer` tells dropout layers of one network apart.
    pub fn dropout(&self, layer: u32, probability: f64, per_sample: usize) -> Option<Mask> {
        if self.mode == Mode::Evaluate || probability <= 0.0 {
            return None;
        }
        let factor = (1.0 / (1.0 - probability)) as f32;
        // A draw of 32 bits is below this with the given probability.
        let threshold = (probability * 2f64.powi(32)) as u32;
        Some(Mask::new([self.samples.len(), per_sample], factor, |row, words| {
            let draws = self.seed.draws(Stream::Dropout, [layer, self.epoch, self.samples[row]]);
            draws.fill_bits(words, |draw| draw >= threshold);
        }))
    }
}
