//! Currents by time step, and the parameters of neurons as tensors. All models share these.

use burn::module::{Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};

/// Reshapes `[steps * batch, ...]` to `[steps, neurons]`, with the neurons of all images.
///
/// # Panics
///
/// Panics if the first dimension is not a multiple of `time_steps`.
pub fn by_step<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    time_steps: usize,
) -> Tensor<B, 2> {
    let rows = tensor.dims()[0];
    assert!(
        time_steps > 0 && rows.is_multiple_of(time_steps),
        "{rows} rows are not {time_steps} time steps of a batch"
    );
    let neurons = tensor.shape().num_elements() / time_steps;
    tensor.reshape([time_steps, neurons])
}

/// The shape `[batch, ...]` of one time step of a tensor `[steps * batch, ...]`.
pub fn of_step<const D: usize>(mut shape: [usize; D], time_steps: usize) -> [usize; D] {
    shape[0] /= time_steps;
    shape
}

/// Membrane potentials `[batch, ...]` as `[neurons]`.
///
/// # Panics
///
/// Panics if they do not have the shape of one time step.
pub fn of_state<B: Backend, const D: usize>(
    membrane: Tensor<B, D>,
    step_shape: [usize; D],
) -> Tensor<B, 1> {
    assert_eq!(membrane.dims(), step_shape, "shape of the membrane potentials");
    membrane.reshape([step_shape.iter().product::<usize>()])
}

/// A parameter `[1]` as it is, and a parameter `[count]` for all neurons, in the order
/// `[outer, count, inner]`.
pub fn of_neurons<B: Backend>(param: Tensor<B, 1>, [outer, inner]: [usize; 2]) -> Tensor<B, 1> {
    match param.dims() {
        [1] => param,
        [count] => {
            let neurons = outer * count * inner;
            param.reshape([1, count, 1]).expand([outer, count, inner]).reshape([neurons])
        }
    }
}

/// Thresholds `[1]` or `[channels]` for the neurons of one time step `[batch, channels, ...]`.
pub fn of_channels<B: Backend, const D: usize>(
    thresholds: Tensor<B, 1>,
    step_shape: [usize; D],
) -> Tensor<B, 1> {
    of_neurons(thresholds, [step_shape[0], step_shape.iter().skip(2).product()])
}

/// A parameter that takes no gradient.
pub fn param<B: Backend>(values: Vec<f32>, device: &B::Device) -> Param<Tensor<B, 1>> {
    let shape = [values.len()];
    Param::initialized(ParamId::new(), Tensor::from_data(TensorData::new(values, shape), device))
}

/// A parameter with other numbers, which takes a gradient if the old one does.
pub fn replaced<B: Backend>(old: &Param<Tensor<B, 1>>, values: &[f32]) -> Param<Tensor<B, 1>> {
    let new = Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &old.device());
    Param::initialized(old.id, new).set_require_grad(old.is_require_grad())
}

/// Reads the numbers of a parameter from the device.
pub fn numbers<B: Backend>(param: &Param<Tensor<B, 1>>) -> Vec<f32> {
    param.val().into_data().iter::<f32>().collect()
}
