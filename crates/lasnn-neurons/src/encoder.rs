//! Encoders: they turn an image into input over time.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::random::unit;
use lasnn_core::{Kind, Mode, Pass, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Turns images into the input of every time step.
pub trait Encoder {
    /// Whether the input is the same at every time step. A network then computes its first
    /// convolution once and repeats the current.
    fn is_constant(&self) -> bool;

    /// The input of `steps` time steps from `first_step` on, which is counted from 0.
    ///
    /// The steps or the batch can be split over several calls; the input stays the same.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - result: `[steps * batch, channels, height, width]`
    ///
    /// # Panics
    ///
    /// A random encoder panics if `pass` does not have one sample for each image.
    fn encode<B: Backend>(
        &self,
        images: Tensor<B, 4>,
        first_step: u32,
        steps: usize,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4>;
}

/// The encoders that a recipe can name.
///
/// Variants without keys are written with braces, because serde accepts unknown keys for unit
/// variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Encoding {
    /// The pixel is the current at every time step. The first layer of neurons turns it into
    /// spikes.
    Direct {},
    /// At every time step, a pixel `x` spikes with probability `min(|x|, 1)`.
    ///
    /// The draws depend on seed, epoch, sample and time step. An evaluation draws other spikes than
    /// training, and the same ones every time.
    Poisson {
        /// The range of the pixels, which decides the effect of a negative pixel.
        #[serde(default)]
        range: PoissonRange,
    },
}

/// The range of the pixels in Poisson encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoissonRange {
    /// -1 to 1: a negative pixel sends spikes of -1.
    #[default]
    Signed,
    /// 0 to 1: a negative pixel never spikes.
    Unit,
}

impl Default for Encoding {
    fn default() -> Self {
        Self::Direct {}
    }
}

impl Encoding {
    /// The names of all encodings, in the order of the variants.
    pub const KINDS: &[Kind] = &[
        Kind {
            name: "direct",
            about: "the pixel is the current at every time step",
            source: "Rathi and Roy 2020 (DIET-SNN)",
        },
        Kind {
            name: "poisson",
            about: "a pixel x spikes with probability min(|x|, 1) at every time step",
            source: "LaSNN; Rathi et al. 2020 (hybrid training)",
        },
    ];
}

impl Encoder for Encoding {
    fn is_constant(&self) -> bool {
        matches!(self, Self::Direct {})
    }

    fn encode<B: Backend>(
        &self,
        images: Tensor<B, 4>,
        first_step: u32,
        steps: usize,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        match *self {
            Self::Direct {} => images.repeat_dim(0, steps),
            Self::Poisson { range } => poisson(images, range, first_step, steps, pass),
        }
    }
}

/// The epoch in the key of an evaluation's draws. Training never reaches it.
const EVALUATION: u32 = u32::MAX;

/// Poisson encoding. It draws on the host, so that every backend gets the same spikes.
fn poisson<B: Backend>(
    images: Tensor<B, 4>,
    range: PoissonRange,
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
            let pixel = match range {
                PoissonRange::Signed => pixel,
                PoissonRange::Unit => pixel.max(0.0),
            };
            *spike = if *spike < pixel.abs() { pixel.signum() } else { 0.0 };
        }
    });
    Tensor::from_data(TensorData::new(spikes, [steps * batch, channels, height, width]), &device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_its_kind() {
        let index = |encoding: &Encoding| match encoding {
            Encoding::Direct {} => 0,
            Encoding::Poisson { .. } => 1,
        };
        for (expected, kind) in Encoding::KINDS.iter().enumerate() {
            let table = serde_json::json!({"kind": kind.name});
            let encoding: Encoding = serde_json::from_value(table).unwrap();
            assert_eq!(index(&encoding), expected, "{}", kind.name);
        }
        assert_eq!(Encoding::KINDS.len(), 2, "as many as there are variants");
    }
}
