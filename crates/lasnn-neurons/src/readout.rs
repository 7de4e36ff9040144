//! Class scores from neurons that integrate without leak and never fire (Eq. 3 and 4).

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

/// How the membrane potential of the last layer becomes class scores.
///
/// `u^T = Σ_t I^t` is the same for both; over 100 steps the two differ by a factor of 100 in the
/// temperature of the softmax that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// The membrane potential itself, `u^T` (hybrid training).
    #[default]
    Sum,
    /// The mean current, `u^T / T`.
    Mean,
}

impl Readout {
    /// Class scores of currents.
    ///
    /// # Shapes
    ///
    /// - `currents`: `[time_steps * batch, classes]`
    /// - result: `[batch, classes]`
    ///
    /// # Panics
    ///
    /// Panics if the first dimension is not a multiple of `time_steps`.
    pub fn read<B: Backend>(&self, currents: Tensor<B, 2>, time_steps: usize) -> Tensor<B, 2> {
        let [rows, classes] = currents.dims();
        assert!(
            time_steps > 0 && rows.is_multiple_of(time_steps),
            "{rows} rows are not {time_steps} time steps of a batch"
        );
        let membrane = currents.reshape([time_steps, rows / time_steps, classes]).sum_dim(0);
        self.scores(membrane.squeeze_dim(0), time_steps)
    }

    /// Class scores of a membrane potential `[batch, classes]` that has integrated `time_steps`
    /// steps, for a simulation that runs in pieces.
    pub fn scores<B: Backend>(&self, membrane: Tensor<B, 2>, time_steps: usize) -> Tensor<B, 2> {
        match self {
            Self::Sum => membrane,
            Self::Mean => membrane / time_steps as f64,
        }
    }
}
