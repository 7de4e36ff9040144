//! Class scores from neurons that integrate without leak and never fire (Eq. 3).

use burn::tensor::{Tensor, backend::Backend};

/// The mean current into each readout neuron: its membrane potential `u^T = Σ_t I^t` after
/// `time_steps` steps from rest, divided by their number.
///
/// These are the logits (class scores) of a spiking network. A loss that takes the membrane
/// potential itself, as Eq. 4 does, multiplies them by the number of time steps.
///
/// # Shapes
///
/// - `membranes`: `[batch, classes]`
/// - result: `[batch, classes]`
pub fn mean_current<B: Backend>(membranes: Tensor<B, 2>, time_steps: usize) -> Tensor<B, 2> {
    membranes / time_steps as f64
}
