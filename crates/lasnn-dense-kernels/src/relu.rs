//! Sums and gates of whole feature maps, element by element.

use rayon::prelude::*;

use lasnn_core::vectorised;

/// Elements of a job.
const CHUNK: usize = 1 << 14;

/// Writes `max(a + b, 0)` to `output`; all slices have the same length.
///
/// # Panics
///
/// Panics if they have not.
pub fn rectified_sum(a: &[f32], b: &[f32], output: &mut [f32]) {
    assert_eq!([a.len(), b.len()], [output.len(); 2], "lengths of a sum");
    let sources = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    output.par_chunks_mut(CHUNK).zip(sources).for_each(|(output, (a, b))| add(a, b, output));
}

/// Writes `grad` where `relu_grad` is above zero, and zero elsewhere; all slices have the same length.
///
/// # Panics
///
/// Panics if they have not.
pub fn gated(grad: &[f32], relu_grad: &[f32], output: &mut [f32]) {
    assert_eq!([grad.len(), relu_grad.len()], [output.len(); 2], "lengths of a relu_grad");
    let sources = grad.par_chunks(CHUNK).zip(relu_grad.par_chunks(CHUNK));
    output
        .par_chunks_mut(CHUNK)
        .zip(sources)
        .for_each(|(output, (grad, relu_grad))| relu_grad_chunk(grad, relu_grad, output));
}

/// The sum of each channel of a map `[batch, channels, positions]`.
///
/// # Panics
///
/// Panics if the map has not that many elements.
pub fn channel_sums(map: &[f32], channels: usize, positions: usize) -> Vec<f32> {
    assert_eq!(map.len() % (channels * positions).max(1), 0, "elements of the map");
    let sum = |channel: usize| -> f32 {
        let planes = map.chunks_exact(positions).skip(channel).step_by(channels);
        planes.map(super::norm::plane_sum).sum()
    };
    (0..channels).into_par_iter().map(sum).collect()
}

vectorised! {
    fn add<'a>(a: &'a [f32], b: &'a [f32], output: &'a mut [f32]) -> () {
        for (output, (&a, &b)) in output.iter_mut().zip(a.iter().zip(b)) {
            *output = (a + b).max(0.0);
        }
    }
}

vectorised! {
    /// Clears the gradients at which `relu_grad` is not above zero.
    pub(super) fn relu_grad_in_place<'a>(grads: &'a mut [f32], relu_grad: &'a [f32]) -> () {
        for (grad, &relu_grad) in grads.iter_mut().zip(relu_grad) {
            *grad = if relu_grad > 0.0 { *grad } else { 0.0 };
        }
    }
}

vectorised! {
    fn relu_grad_chunk<'a>(grad: &'a [f32], relu_grad: &'a [f32], output: &'a mut [f32]) -> () {
        for (output, (&grad, &relu_grad)) in output.iter_mut().zip(grad.iter().zip(relu_grad)) {
            *output = if relu_grad > 0.0 { grad } else { 0.0 };
        }
    }
}
