//! ReLU of the sum of two feature maps, and the gradient of ReLU.

use rayon::prelude::*;

use lasnn_core::vectorised;

/// The number of elements of a job.
const CHUNK: usize = 1 << 14;

/// Writes `max(a + b, 0)` to `output`, element by element.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn add_relu(a: &[f32], b: &[f32], output: &mut [f32]) {
    assert_eq!([a.len(), b.len()], [output.len(); 2], "lengths of a sum");
    let sources = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    output
        .par_chunks_mut(CHUNK)
        .zip(sources)
        .for_each(|(output, (a, b))| add_relu_chunk(a, b, output));
}

/// Writes the gradient with respect to the input of a ReLU, element by element.
///
/// `output_grad` is the gradient with respect to the output of the ReLU, and `output` is its
/// output. The gradient passes if the output is above zero; otherwise `input_grad` is zero.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn relu_backward(output_grad: &[f32], output: &[f32], input_grad: &mut [f32]) {
    let lengths = [output_grad.len(), output.len()];
    assert_eq!(lengths, [input_grad.len(); 2], "lengths of the gradients of a ReLU");
    let sources = output_grad.par_chunks(CHUNK).zip(output.par_chunks(CHUNK));
    input_grad
        .par_chunks_mut(CHUNK)
        .zip(sources)
        .for_each(|(to, (grad, output))| relu_backward_chunk(grad, output, to));
}

vectorised! {
    fn add_relu_chunk<'a>(a: &'a [f32], b: &'a [f32], output: &'a mut [f32]) -> () {
        for (output, (&a, &b)) in output.iter_mut().zip(a.iter().zip(b)) {
            *output = (a + b).max(0.0);
        }
    }
}

vectorised! {
    /// Sets the gradients to zero for which the output of the ReLU is not above zero.
    pub(super) fn relu_backward_in_place<'a>(grads: &'a mut [f32], output: &'a [f32]) -> () {
        for (grad, &output) in grads.iter_mut().zip(output) {
            *grad = if output > 0.0 { *grad } else { 0.0 };
        }
    }
}

vectorised! {
    fn relu_backward_chunk<'a>(grads: &'a [f32], output: &'a [f32], to: &'a mut [f32]) -> () {
        for (to, (&grad, &output)) in to.iter_mut().zip(grads.iter().zip(output)) {
            *to = if output > 0.0 { grad } else { 0.0 };
        }
    }
}
