//! The rectified linear unit (Nair and Hinton, "Rectified linear units improve restricted Boltzmann
//! machines", 2010): `y = max(x, 0)`.

use burn::module::Module;
use burn::tensor::{Tensor, activation, backend::Backend};
use serde::{Deserialize, Serialize};

use super::{ActivationKind, ActivationLayer};

/// The ReLU. It has no keys, and it is written with braces because serde accepts unknown keys for
/// unit structs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReluConfig {}

impl ActivationKind for ReluConfig {
    const NAME: &'static str = "relu";
    const ABOUT: &'static str = "max(x, 0)";
    const SOURCE: &'static str = "Nair and Hinton 2010";

    type Layer<B: Backend> = Relu;

    fn init<B: Backend>(&self, _device: &B::Device) -> Relu {
        Relu {}
    }

    fn is_fused(&self) -> bool {
        true
    }
}

/// The ReLU of a layer. The kernels compute it with the operation before it.
#[derive(Module, Clone, Debug)]
pub struct Relu {}

impl<B: Backend> ActivationLayer<B> for Relu {
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        activation::relu(input)
    }

    fn after(&self, operation: impl FnOnce(bool) -> Tensor<B, 4>) -> Tensor<B, 4> {
        operation(true)
    }
}
