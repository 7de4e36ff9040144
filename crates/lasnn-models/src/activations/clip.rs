//! The ReLU with an upper bound (Deng and Gu, "Optimal conversion of conventional artificial neural
//! networks to spiking neural networks", 2021), which may be trained (Choi et al., "PACT:
//! parameterized clipping activation for quantized neural networks", 2018):
//!
//! ```text
//! y = min(max(x, 0), b)
//! dL/dx = dL/dy where 0 < x ≤ b, else 0
//! dL/db = Σ dL/dy over all x > b
//! ```
//!
//! A neuron fires at most once in a time step, so a firing rate has an upper bound. An ordinary
//! network that is trained with one loses less when it is converted.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation, backend::Backend};
use serde::{Deserialize, Serialize};

use super::{ActivationError, ActivationKind, ActivationLayer, bound};

/// A ReLU with an upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipConfig {
    /// The bound `b` of every layer, before training if it is trained.
    pub bound: f64,
    /// Whether each layer trains its bound.
    pub train: bool,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self { bound: 1.0, train: false }
    }
}

impl ActivationKind for ClipConfig {
    const NAME: &'static str = "clip";
    const ABOUT: &'static str = "min(max(x, 0), bound); each layer may train its bound";
    const SOURCE: &'static str = "Deng and Gu 2021; trained: Choi et al. 2018 (PACT)";

    type Layer<B: Backend> = Clip<B>;

    fn check(&self) -> Result<(), ActivationError> {
        bound::check(self.bound)
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Clip<B> {
        Clip { bound: bound::init(self.bound, self.train, device) }
    }

    fn is_trained(&self) -> bool {
        self.train
    }

    fn has_bound(&self) -> bool {
        true
    }
}

/// The clipped activation of a layer.
#[derive(Module, Debug)]
pub struct Clip<B: Backend> {
    /// `b`, `[1]`.
    bound: Param<Tensor<B, 1>>,
}

impl<B: Backend> ActivationLayer<B> for Clip<B> {
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let bound = self.bound.val().reshape([1, 1, 1, 1]).expand(input.dims());
        let is_above = input.clone().greater(bound.clone());
        activation::relu(input).mask_where(is_above, bound)
    }

    fn constrained(self) -> Self {
        Self { bound: bound::constrained(self.bound) }
    }
}
