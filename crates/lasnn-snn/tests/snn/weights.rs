//! Random weights with which neurons fire at thresholds of 1.

use burn::module::{ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};

/// Draws weights that are multiples of 1/64. Sums of such weights are not rounded, so no spike can
/// depend on the order of a sum. Thresholds and leaks stay.
pub struct DrawWeights(pub u64);

impl<B: Backend> ModuleMapper<B> for DrawWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if D == 1 {
            return param;
        }
        self.0 += 1;
        let mut state = self.0;
        let shape = param.shape();
        let fan_in = match D {
            4 => shape.num_elements() / shape[0],
            _ => shape[0],
        };
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0
        };
        let scale = 5.0 / (fan_in as f32).sqrt() * 64.0;
        let numbers: Vec<f32> =
            (0..shape.num_elements()).map(|_| (next() * scale).round() / 64.0).collect();
        let device = param.device();
        param.map(|_| Tensor::from_data(TensorData::new(numbers, shape), &device).require_grad())
    }
}
