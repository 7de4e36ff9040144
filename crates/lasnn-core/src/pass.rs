//! What a forward pass must know beside its input, so that no network keeps hidden state.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_kernels::Precision;
use rayon::prelude::*;

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

    /// The dropout mask of a layer for a tensor of `shape` (first dimension: the batch): zero with
    /// `probability`, else `1 / (1 - probability)`. `None` where dropout does nothing.
    ///
    /// `layer` tells dropout layers of one network apart.
    ///
    /// # Panics
    ///
    /// Panics if the first dimension of `shape` is not the number of samples.
    pub fn dropout<B: Backend, const D: usize>(
        &self,
        layer: u32,
        probability: f64,
        shape: [usize; D],
        device: &B::Device,
    ) -> Option<Tensor<B, D>> {
        assert_eq!(shape[0], self.samples.len(), "one sample per row of the batch");
        let mask = self.dropout_mask(layer, probability, shape[1..].iter().product())?;
        Some(Tensor::from_data(TensorData::new(mask, shape), device))
    }

    /// The numbers of [`Pass::dropout`], `per_sample` for each sample, in host memory.
    pub fn dropout_mask(
        &self,
        layer: u32,
        probability: f64,
        per_sample: usize,
    ) -> Option<Vec<f32>> {
        if self.mode == Mode::Evaluate || probability <= 0.0 {
            return None;
        }
        let keep = (1.0 / (1.0 - probability)) as f32;
        // A draw of 32 bits is below this with the given probability.
        let threshold = (probability * 2f64.powi(32)) as u32;
        let mut mask = vec![0f32; self.samples.len() * per_sample];
        let rows = mask.par_chunks_exact_mut(per_sample.max(1)).zip(self.samples);
        rows.for_each(|(row, &sample)| {
            let draws = self.seed.draws(Stream::Dropout, [layer, self.epoch, sample]);
            draws.fill(row, |bits| if bits < threshold { 0.0 } else { keep });
        });
        Some(mask)
    }
}
