//! Dropout over time.

use burn::tensor::Tensor;
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::Pass;

/// Dropout of a tensor that has time folded into its batch, with the same mask at all time steps.
///
/// A new mask at each time step would average out over the steps and drop nothing. The mask is
/// drawn by [`Pass::dropout`] for `[batch, ...]`, so it does not depend on the number of steps.
///
/// # Shapes
///
/// - `folded`: `[time_steps * batch, ...]`
/// - result: the same
///
/// # Panics
///
/// Panics if the first dimension is not `time_steps` times the number of samples in `pass`.
pub fn time_locked_dropout<B: DenseBackend, const D: usize>(
    folded: Tensor<B, D>,
    layer: u32,
    probability: f64,
    time_steps: usize,
    pass: &Pass<'_>,
) -> Tensor<B, D> {
    let shape = folded.dims();
    let batch = pass.samples.len();
    assert_eq!(
        shape[0],
        time_steps * batch,
        "the first dimension must be time steps times samples"
    );
    let per_sample = shape[1..].iter().product();
    match pass.dropout(layer, probability, per_sample) {
        Some(mask) => ops::masked(folded, mask),
        None => folded,
    }
}
