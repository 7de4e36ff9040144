//! Direct encoding (Rathi and Roy, "DIET-SNN: direct input encoding with leakage and threshold
//! optimization in deep spiking neural networks", 2020): the pixel is the current at every time
//! step. The first layer of neurons turns it into spikes.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Pass;
use serde::{Deserialize, Serialize};

use super::{EncodedValues, Encoder};

/// Direct encoding. It has no keys, and it is written with braces because serde accepts unknown
/// keys for unit structs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direct {}

impl Encoder for Direct {
    const NAME: &'static str = "direct";
    const ABOUT: &'static str = "the pixel is the current at every time step";
    const SOURCE: &'static str = "Rathi and Roy 2020 (DIET-SNN)";

    fn values(&self) -> EncodedValues {
        EncodedValues::Constant
    }

    fn encode<B: Backend>(
        &self,
        images: Tensor<B, 4>,
        _first_step: u32,
        steps: usize,
        _pass: &Pass<'_>,
    ) -> Tensor<B, 4> {
        images.repeat_dim(0, steps)
    }
}
