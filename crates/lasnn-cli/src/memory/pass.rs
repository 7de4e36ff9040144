//! How a network is run.

use lasnn_core::Precision;

use super::size::Size;

/// How a network is run.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The number of images that are computed at once.
    pub batch: Size,
    /// The number of time steps. An ANN ignores it.
    pub steps: Size,
    /// The precision of products.
    pub precision: Precision,
    /// The number of threads.
    pub threads: Size,
}

impl Pass {
    /// The number of rows: one for each image and time step.
    pub fn rows(self) -> Size {
        self.batch * self.steps
    }

    /// Whether products are of bfloat16.
    pub fn is_bf16(self) -> bool {
        self.precision == Precision::Bf16
    }
}
