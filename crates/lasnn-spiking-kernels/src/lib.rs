//! A spiking network, computed only where neurons fire.

#![forbid(unsafe_code)]

mod backward;
mod circuit;
mod convolution;
mod events;
mod fixed;
mod forward;
mod geometry;
mod halves;
mod input_grad;
mod linear;
mod neuron;
mod prepared;
mod simd;
mod site_grad;
mod sparse_input_grad;
mod spikes;
mod tape;
#[cfg(test)]
mod tests;
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    allow(dead_code, reason = "there are no tiles there")
)]
mod tiles;
mod weight_grad;
mod weights;

pub use backward::{Gradients, OutcomeGrad};
pub use circuit::{
    Call, Circuit, Connection, Drive, Origin, Shape, Site, Source, Unsupported, View,
};
pub use forward::{Membranes, Outcome, Show};
pub use neuron::{Neurons, Reset, StepOrder, Surrogate};
pub use prepared::Prepared;
pub use tape::Tape;
pub use weights::WeightFormat;
