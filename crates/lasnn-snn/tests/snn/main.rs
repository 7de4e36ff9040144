//! Spiking networks on the CPU backends.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

mod batch_norm;
mod building;
mod fused;
mod golden;
mod membranes;
mod naive;
mod params;
mod plif;
mod probes;
mod simulation;
mod spike_time;
mod weights;
