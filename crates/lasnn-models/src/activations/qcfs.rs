//! The quantised clip-floor-shift activation (Bu et al., "Optimal ANN-SNN conversion for
//! high-accuracy and ultra-low-latency spiking neural networks", 2022):
//!
//! ```text
//! q = floor(L min(max(x / b, 0), 1) + 1/2) / L
//! y = b q
//! dL/dx = dL/dy where 0 < x < b, else 0
//! dL/db = Σ dL/dy (q - x / b where 0 < x < b, 1 where x > b, else 0)
//! ```
//!
//! The derivative of `floor` is taken as 1. An integrate-and-fire neuron with the threshold `b`,
//! the initial membrane potential `b / 2` and a constant current `x` over `L` time steps fires
//! `L q` times. So a network that is trained with this activation loses least when it is converted
//! with the method `activation-bounds` and the initial membrane potential 0.5.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

use super::{ActivationError, ActivationKind, ActivationLayer, bound};

/// The quantised clip-floor-shift activation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QcfsConfig {
    /// The number `L` of levels above 0, at most 1,000,000.
    pub levels: usize,
    /// The bound `b` of every layer, before training if it is trained.
    pub bound: f64,
    /// Whether each layer trains its bound.
    pub train: bool,
}

impl Default for QcfsConfig {
    /// The values of the paper's code.
    fn default() -> Self {
        Self { levels: 8, bound: 8.0, train: true }
    }
}

impl ActivationKind for QcfsConfig {
    const NAME: &'static str = "qcfs";
    const ABOUT: &'static str = "a ReLU with an upper bound and `levels` steps";
    const SOURCE: &'static str = "Bu et al. 2022 (QCFS)";

    type Layer<B: Backend> = Qcfs<B>;

    fn check(&self) -> Result<(), ActivationError> {
        // More levels than single precision distinguishes have no meaning.
        if !(1..=1_000_000).contains(&self.levels) {
            let (found, expected) = (self.levels as f64, "1 to 1000000");
            return Err(ActivationError { key: "levels", found, expected });
        }
        bound::check(self.bound)
    }

    fn init<B: Backend>(&self, device: &B::Device) -> Qcfs<B> {
        Qcfs { bound: bound::init(self.bound, self.train, device), levels: self.levels }
    }

    fn is_trained(&self) -> bool {
        self.train
    }

    fn has_bound(&self) -> bool {
        true
    }
}

/// The quantised clip-floor-shift activation of a layer.
#[derive(Module, Debug)]
pub struct Qcfs<B: Backend> {
    /// `b`, `[1]`.
    bound: Param<Tensor<B, 1>>,
    /// `L`; it is not part of the module's state.
    #[module(skip)]
    levels: usize,
}

impl<B: Backend> ActivationLayer<B> for Qcfs<B> {
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let bound = self.bound.val().reshape([1, 1, 1, 1]).expand(input.dims());
        let levels = self.levels as f64;
        let share = (input / bound.clone()).clamp(0.0, 1.0);
        let steps = share.clone().detach();
        let quantised = (steps.clone() * levels + 0.5).floor() / levels;
        // The value of the quantised share with the derivative of the share.
        (share + (quantised - steps)) * bound
    }

    fn constrained(self) -> Self {
        Self { bound: bound::constrained(self.bound), levels: self.levels }
    }
}
