//! Class scores from neurons that integrate without leak and never fire (Eq. 3 and 4).

use burn::tensor::{Tensor, backend::Backend};
use serde::{Deserialize, Serialize};

/// How the membrane potentials of the last layer become class scores.
///
/// The membrane potential `u^T = Σ_t I^t` is the same for both. After 100 steps they differ by a
/// factor of 100, which acts as the temperature of the following softmax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// The membrane potential `u^T`, as in hybrid training.
    #[default]
    Sum,
    /// The mean current, `u^T / T`.
    Mean,
}

impl Readout {
    /// The class scores of currents.
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

    /// The class scores of membrane potentials `[batch, classes]` after `time_steps` steps, for a
    /// simulation that is split over several calls.
    pub fn scores<B: Backend>(&self, membrane: Tensor<B, 2>, time_steps: usize) -> Tensor<B, 2> {
        match self {
            Self::Sum => membrane,
            Self::Mean => membrane / time_steps as f64,
        }
    }
}
