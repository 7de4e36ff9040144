//! From an ordinary network to a spiking one (stage 2 of LaSNN).
//!
//! - [`network`]: the spiking network, built from the same description as the ordinary one; the kernels
//!   of CPU backends run it as one operation, other backends layer by layer,
//! - [`drive`]: how its neurons are driven: from rest with gradients, or streaming without,
//! - [`convert`](mod@convert): weight transfer and threshold balancing, layer by layer,
//! - [`threshold`]: the policies that set a threshold,
//! - [`report`]: what the conversion did to each layer,
//! - [`simulate`](mod@simulate): accuracy by time step, firing rates, operations,
//! - [`simulator`]: a network that is run again and again with the same weights,
//! - [`counting`]: a drive that counts the spikes of each neuron,
//! - [`energy`]: what a spike sets in motion and what that costs,
//! - [`progress`]: how far a long computation is, and how it is ended,
//! - [`parity`]: whether the kernels of a device do the same as a whole and layer by layer.

pub mod config;
pub mod convert;
pub mod counting;
pub mod drive;
pub mod energy;
pub mod error;
pub mod layers;
pub mod network;
pub mod parity;
pub mod progress;
pub mod quantile;
pub mod report;
pub mod signal;
pub mod simulate;
pub mod simulator;
pub mod threshold;
mod wiring;

pub use config::{ConversionConfig, SpikingConfig};
pub use convert::{Activations, Balancing, convert};
pub use energy::ann_energy_pj;
pub use error::ConversionError;
pub use lasnn_kernels::spiking::WeightFormat;
pub use network::SpikingNetwork;
pub use parity::{NetworkCase, NetworkComparison, NetworkError, compare_network};
pub use progress::{OnProgress, Progress, Task, images_at_once};
pub use report::{ConversionReport, LayerReport};
pub use simulate::{LayerRate, Simulation, simulate, simulate_while};
pub use simulator::Simulator;
pub use threshold::{Policy, ThresholdPolicy};
