//! The spiking network: built from the same description as an ordinary network, run and measured.
//!
//! - [`network`]: the network, a Burn module; on CPU backends the kernels run it as one operation,
//!   on other backends it runs layer by layer,
//! - [`config`]: its neurons, its input encoding and its readout,
//! - [`runner`]: how its neurons run: from rest with gradients, or streaming without,
//! - [`simulate`](mod@simulate): accuracy by time step, firing rates, operations,
//! - [`simulator`]: a network that runs many times with the same weights,
//! - [`counting`]: a runner that counts the spikes of each neuron,
//! - [`energy`]: the operations that spikes cause, and an estimate of their energy,
//! - [`progress`]: how far a long computation is, and how a caller stops it,
//! - [`parity`]: a comparison of the two ways to run a network, for tests on any device.

pub mod config;
pub mod counting;
pub mod energy;
pub mod error;
pub mod layers;
mod lower;
pub mod network;
pub mod parity;
pub mod progress;
pub mod runner;
pub mod signal;
pub mod simulate;
pub mod simulator;

pub use config::SpikingConfig;
pub use energy::ann_energy_pj;
pub use error::SnnError;
pub use lasnn_spiking_kernels::WeightFormat;
pub use network::SpikingNetwork;
pub use parity::{NetworkCase, NetworkComparison, NetworkError, compare_network};
pub use progress::{OnProgress, Progress, Task, images_at_once};
pub use simulate::{LayerRate, Simulation, simulate, simulate_while};
pub use simulator::Simulator;
