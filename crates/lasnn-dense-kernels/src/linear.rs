//! Linear layers with inputs `[batch, inputs]` and weights `[inputs, outputs]`.

use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::matrix::{Matrix, multiply};
use lasnn_gemm::memory::Scratch;

/// The sizes of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// The number of images.
    pub batch: usize,
    /// The number of input features.
    pub inputs: usize,
    /// The number of output features.
    pub outputs: usize,
}

/// Writes `input · weights + bias` to `output`. If `relu`, negative values become zero.
///
/// - `input`: `[batch, inputs]`
/// - `weights`: `[inputs, outputs]`
/// - `bias`: `[outputs]`
/// - `output`: `[batch, outputs]`
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn forward(
    shape: LinearShape,
    precision: Precision,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
    output: &mut [f32],
) {
    let LinearShape { batch, inputs, outputs } = shape;
    let weights = Matrix::rows(weights, [inputs, outputs]);
    multiply(precision, Matrix::rows(input, [batch, inputs]), weights, output);
    // `max` would replace NaN by zero and hide it.
    let activation = |value: f32| if relu && value < 0.0 { 0.0 } else { value };
    for row in output.chunks_exact_mut(outputs.max(1)) {
        match bias {
            Some(bias) => {
                for (value, &bias) in row.iter_mut().zip(bias) {
                    *value = activation(*value + bias);
                }
            }
            None if relu => row.iter_mut().for_each(|value| *value = activation(*value)),
            None => {}
        }
    }
}

/// Writes the gradient with respect to the input of [`forward`], without ReLU.
///
/// - `output_grad`: the gradient with respect to the output, `[batch, outputs]`
/// - `weights`: `[inputs, outputs]`
/// - `grad`: `[batch, inputs]`
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn input_grad(
    shape: LinearShape,
    precision: Precision,
    output_grad: &[f32],
    weights: &[f32],
    grad: &mut [f32],
) {
    let LinearShape { batch, inputs, outputs } = shape;
    assert_eq!(grad.len(), batch * inputs, "elements of the input gradient of {shape:?}");
    // This computes the transpose of the gradient, since the product `output_grad · weightsᵀ` would
    // first transpose the weights. They are by far the largest matrix, and transposing them takes
    // three times as long as the product.
    let mut transposed = Scratch::new(batch * inputs);
    let output_grad = Matrix::rows(output_grad, [batch, outputs]).transposed();
    let weights = Matrix::rows(weights, [inputs, outputs]);
    multiply(precision, weights, output_grad, &mut transposed);
    grad.par_chunks_mut(inputs.max(1)).enumerate().for_each(|(row, grad)| {
        for (grad, &value) in grad.iter_mut().zip(transposed[row..].iter().step_by(batch)) {
            *grad = value;
        }
    });
}

/// Writes the gradient with respect to the weights of [`forward`], without ReLU.
///
/// - `input`: `[batch, inputs]`
/// - `output_grad`: the gradient with respect to the output, `[batch, outputs]`
/// - `grad`: `[inputs, outputs]`
///
/// # Panics
///
/// Panics if the length of a slice does not match `shape`.
pub fn weight_grad(
    shape: LinearShape,
    precision: Precision,
    input: &[f32],
    output_grad: &[f32],
    grad: &mut [f32],
) {
    let LinearShape { batch, inputs, outputs } = shape;
    let input = Matrix::rows(input, [batch, inputs]).transposed();
    multiply(precision, input, Matrix::rows(output_grad, [batch, outputs]), grad);
}
