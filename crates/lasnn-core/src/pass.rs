//! Everything that a forward pass needs to know apart from its input, so that no network keeps
//! hidden state.

use crate::random::{Seed, Stream};
use crate::{Mask, Precision};

/// Whether a forward pass is part of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout sets activations to zero.
    Train,
    /// Dropout is the identity.
    Evaluate,
}

/// The keys of all random draws of one forward pass, and the precision of its products.
///
/// A draw depends on the seed of the run, on its stream, the epoch and the sample. It never depends
/// on the batch that contains the sample, so that splitting a batch or resuming a run changes
/// nothing.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Training or evaluation.
    pub mode: Mode,
    /// The seed of the run.
    pub seed: Seed,
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// The identity of each image of the batch within its data set.
    pub samples: &'a [u32],
    /// The number format of the dense products of this pass and of its backward pass.
    pub precision: Precision,
}

impl<'a> Pass<'a> {
    /// A pass of the training loop, in `f32`.
    pub fn train(seed: Seed, epoch: u32, samples: &'a [u32]) -> Self {
        Self { mode: Mode::Train, seed, epoch, samples, precision: Precision::F32 }
    }

    /// A pass that measures, in `f32`.
    ///
    /// Its epoch is always 0, so that encoders that draw spikes draw the same ones in every pass.
    pub fn evaluate(seed: Seed, samples: &'a [u32]) -> Self {
        Self { mode: Mode::Evaluate, epoch: 0, ..Self::train(seed, 0, samples) }
    }

    /// The same pass with products of another precision.
    ///
    /// Backends without kernels for the precision ignore it and compute with the number format of
    /// their tensors. On the other backends, [`Precision::Bf16`] rounds the factors of all dense
    /// products of an ANN, forward and backward. In a spiking network it rounds the weights of the
    /// forward pass too, so spikes may differ from those of an `f32` pass. It also rounds
    /// gradients, and stores the surrogate derivatives in 8 bits. If a spiking network contains
    /// neurons that reset to zero, or a surrogate gradient without bounded support, only gradients
    /// are rounded, and its spikes are those of the `f32` pass.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same pass for the samples in `range` of its batch.
    ///
    /// # Panics
    ///
    /// Panics if `range` exceeds the batch.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Pass<'a> {
        Pass { samples: &self.samples[range], ..*self }
    }

    /// The dropout mask of a layer, with one row of `per_sample` factors for each sample.
    ///
    /// A factor is 0 with the given probability, and `1 / (1 - probability)` otherwise. The result
    /// is `None` if dropout is the identity: in evaluation, or if the probability is 0. `layer` is
    /// a number that distinguishes the dropout layers of one network.
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
