//! Linear layers: inputs `[batch, inputs]`, weights `[inputs, outputs]`.

use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_gemm::matrix::{Matrix, multiply};
use lasnn_gemm::memory::Scratch;

/// The sizes of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Rows of the input.
    pub batch: usize,
    /// Features of an input row.
    pub inputs: usize,
    /// Features of an output row.
    pub outputs: usize,
}

/// Writes `input · weights + bias` to `output` `[batch, outputs]`; negative values as zero if
/// `relu`.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
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
    // Not `max`: what is not a number must stay visible.
    let rectified = |value: f32| if relu && value < 0.0 { 0.0 } else { value };
    for row in output.chunks_exact_mut(outputs.max(1)) {
        match bias {
            Some(bias) => {
                for (value, &bias) in row.iter_mut().zip(bias) {
                    *value = rectified(*value + bias);
                }
            }
            None if relu => row.iter_mut().for_each(|value| *value = rectified(*value)),
            None => {}
        }
    }
}

/// Writes the gradient with respect to the input of [`forward`], given that with respect to its
/// output.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
pub fn input_grad(
    shape: LinearShape,
    precision: Precision,
    output_grad: &[f32],
    weights: &[f32],
    grad: &mut [f32],
) {
    let LinearShape { batch, inputs, outputs } = shape;
    assert_eq!(grad.len(), batch * inputs, "elements of the input gradient of {shape:?}");
    // The product is taken turned around: so the weights, by far the largest matrix, need not be
    // turned before it, which would take three times as long as the product itself.
    let mut turned = Scratch::new(batch * inputs);
    let output_grad = Matrix::rows(output_grad, [batch, outputs]).transposed();
    let weights = Matrix::rows(weights, [inputs, outputs]);
    multiply(precision, weights, output_grad, &mut turned);
    grad.par_chunks_mut(inputs.max(1)).enumerate().for_each(|(row, grad)| {
        for (grad, &value) in grad.iter_mut().zip(turned[row..].iter().step_by(batch)) {
            *grad = value;
        }
    });
}

/// Writes the gradient with respect to the weights of [`forward`], given that with respect to its
/// output.
///
/// # Panics
///
/// Panics if a slice has not the elements that `shape` says.
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
