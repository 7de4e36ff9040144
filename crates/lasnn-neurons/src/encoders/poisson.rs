//! Poisson encoding (Rathi et al., "Enabling deep spiking neural networks with hybrid conversion
//! and spike timing dependent backpropagation", 2020): at every time step, a pixel `x` spikes with
//! probability `min(|x|, 1)`.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::random::unit;
use lasnn_core::{Mode, Pass, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{EncodedValues, Encoder};

/// Poisson encoding.
///
/// The draws depend on seed, epoch, sample and time step. An evaluation draws other spikes than
/// training, and the same ones every time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poisson {
    /// The range of the pixels, which decides the effect of a negative pixel.
    pub range: PoissonRange,
}

/// The range of the pixels in Poisson encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoissonRange {
    /// -1 to 1: a negative pixel sends spikes of -1.
    #[default]
    Signed,
    /// 0 to 1: a negative pixel never spikes.
    Unit,
}

/// The epoch in the key of an evaluation's draws. Training never reaches it.
const EVALUATION: u32 = u32::MAX;

impl Encoder for Poisson {
    const NAME: &'static str = "poisson";
    const ABOUT: &'static str = "a pixel x spikes with probability min(|x|, 1) at every time step";
    const SOURCE: &'static str = "LaSNN; Rathi et al. 2020 (hybrid training)";

    fn values(&self) -> EncodedValues {
        match self.range {
            PoissonRange::Signed => EncodedValues::SignedSpikes,
            PoissonRange::Unit => EncodedValues::Spikes,
        }
    }

    fn check_pixels(&self, lowest: f32, highest: f32) -> Result<(), &'static str> {
        if highest > 1.0 || lowest < -1.0 {
            return Err("Poisson encoding uses pixels as probabilities, which are at most 1");
        }
        match self.range == PoissonRange::Unit && lowest < 0.0 {
            true => Err("with `spiking.encoding.range = \"unit\"` a pixel below 0 would never \
                         spike; `range = \"signed\"` takes pixels of -1 to 1"),
            false => Ok(()),
        }
    }

    /// It draws on the host, so that every backend gets the same spikes.
    fn encode<B: Backend>(
        &self,
        images: Tensor<B, 4>,
        first_step: u32,
        steps: usize,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        let device = images.device();
        let [batch, channels, height, width] = images.dims();
        assert_eq!(batch, pass.samples.len(), "the pass must have one sample for each image");
        let epoch = match pass.mode {
            Mode::Train => pass.epoch,
            Mode::Evaluate => EVALUATION,
        };
        let pixels: Vec<f32> = images.into_data().iter::<f32>().collect();
        let size = (channels * height * width).max(1);
        let mut spikes = vec![0f32; steps * pixels.len()];
        spikes.par_chunks_exact_mut(size).enumerate().for_each(|(row, spikes)| {
            let (step, image) = (row / batch, row % batch);
            let key = [epoch, pass.samples[image], first_step + step as u32];
            let draws = pass.seed.draws(Stream::Encoder, key);
            draws.fill(spikes, unit);
            for (spike, &pixel) in spikes.iter_mut().zip(&pixels[image * size..]) {
                let pixel = match self.range {
                    PoissonRange::Signed => pixel,
                    PoissonRange::Unit => pixel.max(0.0),
                };
                *spike = if *spike < pixel.abs() { pixel.signum() } else { 0.0 };
            }
        });
        let shape = [steps * batch, channels, height, width];
        Tensor::from_data(TensorData::new(spikes, shape), &device)
    }
}
