//! Spiking networks: built from a description, run, trained through time and measured.
//!
//! A spiking network is built from the same description ([`lasnn_core::Plan`]) as the ordinary
//! (non-spiking) network it may be converted from, and its weights carry the same names.
//!
//! - [`network`]: the network, a Burn module,
//! - [`layers`]: its layers, Burn modules as well,
//! - [`batch_norm`](mod@batch_norm): batch norm of its currents, while it is trained,
//! - [`config`]: its neurons and its input encoding, as a recipe gives them,
//! - [`signal`]: the feature maps that travel between layers,
//! - [`runner`]: how its neurons run: from rest with gradients, or streaming without,
//! - [`simulator`]: a network that runs many times with the same weights,
//! - [`simulate`](mod@simulate): accuracy by time step, firing rates, operations and energy,
//! - [`counting`]: a streaming pass that counts the spikes of each neuron,
//! - [`fan_out`]: how many synapses each spike drives,
//! - [`energy`]: the energy of these operations, estimated,
//! - [`progress`]: how far a long computation is, and how a caller stops it,
//! - [`parity`]: a comparison of the two ways to run a network, for tests on any device.
//!
//! There are two ways to run a network. The *fused* pass is one operation of the backend for all
//! layers and time steps; CPU backends have kernels for it
//! ([`lasnn_spiking_kernels`]). The other way runs layer by layer on tensors and works on every
//! backend. Both give the same spikes and have the values of every probe. With a surrogate that
//! looks at earlier spikes, gradients need the way layer by layer, and everything else is fused.

pub mod batch_norm;
pub mod config;
pub mod counting;
pub mod energy;
pub mod error;
pub mod fan_out;
mod fused;
pub mod layers;
mod lower;
pub mod network;
pub mod offset;
pub mod parity;
pub mod progress;
pub mod runner;
pub mod signal;
pub mod simulate;
pub mod simulator;
pub mod synapses;
mod walk;

pub use batch_norm::BatchNormConfig;
pub use config::SpikingConfig;
pub use energy::ann_energy_pj;
pub use error::SnnError;
pub use fused::{layer_by_layer_because, trained_layer_by_layer_because};
pub use lasnn_spiking_kernels::WeightFormat;
pub use network::SpikingNetwork;
pub use parity::{NetworkCase, NetworkComparison, NetworkError, compare_network};
pub use progress::{OnProgress, Progress, Task, images_at_once};
pub use simulate::{LayerRate, Simulation, simulate, simulate_while};
pub use simulator::Simulator;
