//! The memory of a spiking network: training, simulation and threshold balancing.
//!
//! `graph` is the network, `params` the parameters of its neurons, `forward` the temporary memory
//! of one layer, `training` a training step, and `simulation` everything without gradients. The
//! allocations have the order of `lasnn-spiking-kernels`. In bfloat16 the memory is that of
//! processors with matrix tiles (AMX); on other processors it differs little.

mod forward;
mod graph;
mod params;
mod simulation;
mod training;

pub use graph::Graph;
