//! The backends, inputs and comparisons that the tests share.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::{Seed, Stream};
use lasnn_neurons::{NeuronOptions, Reset, StepOrder, Surrogate};

/// Makes a test on every backend of each function, which is generic over the backend.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        #[cfg(feature = "flex")]
        mod flex {
            $(#[test] fn $test() { super::$test::<burn_flex::Flex>() })*
        }
        #[cfg(feature = "ndarray")]
        mod ndarray {
            $(#[test] fn $test() { super::$test::<burn_ndarray::NdArray<f32>>() })*
        }
        #[cfg(feature = "vulkan")]
        mod vulkan {
            $(#[test] fn $test() { super::$test::<burn::backend::Vulkan>() })*
        }
    };
}
pub(crate) use on_every_backend;

/// Every combination of reset, step order and surrogate.
pub fn all_options() -> Vec<NeuronOptions> {
    let mut all = Vec::new();
    for reset in Reset::ALL {
        for step_order in StepOrder::ALL {
            for surrogate in Surrogate::ALL {
                all.push(NeuronOptions { reset, step_order, surrogate });
            }
        }
    }
    all
}

/// Standard normal values; another `key` gives other values.
pub fn normals(key: u32, count: usize) -> Vec<f32> {
    Seed(2).draws(Stream::Test, [key, 0, 0]).normals(count)
}

/// A tensor in the default float type of the backend.
pub fn tensor<B: Backend, const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// The elements of a tensor.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Asserts that no error is above `tolerance` times the maximum absolute expected value.
#[track_caller]
pub fn assert_close(name: &str, values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
        assert!(
            (value - expected).abs() <= tolerance * scale,
            "{name}[{index}] is {value}, expected {expected} (largest {scale})"
        );
    }
}
