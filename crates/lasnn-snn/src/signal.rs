//! The feature maps that travel between layers.

use burn::tensor::{Tensor, backend::Backend};

/// Feature maps of several time steps.
///
/// Under direct encoding the input is the same at every step, and so are the outputs of all layers
/// before the first neurons. Such a signal is *constant*: it holds one step, is computed once, and
/// is repeated where neurons need it step by step.
#[derive(Clone, Debug)]
pub struct Signal<B: Backend> {
    /// `[steps · batch, channels, height, width]`, time-major; `[batch, channels, height, width]`
    /// if the signal is constant.
    pub maps: Tensor<B, 4>,
    /// Whether `maps` holds one step that stands for all.
    pub constant: bool,
}

impl<B: Backend> Signal<B> {
    /// A signal with maps `[steps · batch, channels, height, width]` of its own for every step.
    pub fn changing(maps: Tensor<B, 4>) -> Self {
        Self { maps, constant: false }
    }

    /// Applies an operation that treats every step alike.
    pub fn map(self, operation: impl FnOnce(Tensor<B, 4>) -> Tensor<B, 4>) -> Self {
        Self { maps: operation(self.maps), constant: self.constant }
    }

    /// The sum of two signals over `steps` time steps.
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
