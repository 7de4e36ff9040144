//! What travels between layers: a folded sequence of maps, or one map that stands for all steps.

use burn::tensor::{Tensor, backend::Backend};

/// Maps of all time steps of a chunk.
///
/// Under direct encoding the input is the same at every step, and so is all that layers without
/// memory make of it: it is computed once, until the first neurons need it step by step.
#[derive(Clone, Debug)]
pub struct Signal<B: Backend> {
    /// `[rows, channels, height, width]`; rows are `steps · batch`, time-major, or just `batch`
    /// when constant.
    pub maps: Tensor<B, 4>,
    /// Whether `maps` holds one step that stands for all.
    pub constant: bool,
}

impl<B: Backend> Signal<B> {
    /// A signal with a map for every step.
    pub fn changing(maps: Tensor<B, 4>) -> Self {
        Self { maps, constant: false }
    }

    /// Applies an operation without memory.
    pub fn map(self, operation: impl FnOnce(Tensor<B, 4>) -> Tensor<B, 4>) -> Self {
        Self { maps: operation(self.maps), constant: self.constant }
    }

    /// The sum of two signals.
    pub fn add(self, other: Self, steps: usize) -> Self {
        match self.constant == other.constant {
            true => Self { maps: self.maps + other.maps, constant: self.constant },
            false => Self::changing(self.unfold(steps) + other.unfold(steps)),
        }
    }

    /// The maps of every step, `[steps · batch, channels, height, width]`.
    pub fn unfold(self, steps: usize) -> Tensor<B, 4> {
        if !self.constant {
            return self.maps;
        }
        // Not `repeat_dim(0, steps)`: its gradient in Burn 0.21.0 adds up the wrong rows when the
        // repeated dimension is larger than 1.
        let [batch, channels, height, width] = self.maps.dims();
        let numbers = batch * channels * height * width;
        self.maps.reshape([1, numbers]).expand([steps, numbers]).reshape([
            steps * batch,
            channels,
            height,
            width,
        ])
    }
}
