//! Batches as tensors.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use lasnn_core::{Batch, Shape};

/// Copies a [`Batch`] from host memory to a device.
pub trait BatchTensors {
    /// The images `[batch, channels, height, width]`.
    fn images<B: Backend>(&self, device: &B::Device) -> Tensor<B, 4>;

    /// The labels `[batch]`.
    fn targets<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1, Int>;
}

impl BatchTensors for Batch {
    fn images<B: Backend>(&self, device: &B::Device) -> Tensor<B, 4> {
        let Shape { channels, height, width } = self.shape;
        let shape = [self.len(), channels, height, width];
        Tensor::from_data(TensorData::new(self.pixels.clone(), shape), device)
    }

    fn targets<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1, Int> {
        let labels: Vec<i32> = self.labels.iter().map(|&label| label as i32).collect();
        Tensor::from_data(TensorData::new(labels, [self.len()]), device)
    }
}
