//! Spiking neurons with surrogate gradients, input encoders, and their kernels.
//!
//! - [`models`]: the table of neuron models, with one module for each: its equations, its options
//!   in a recipe, and a layer of such neurons as a Burn module,
//! - [`model`]: the traits that a neuron model implements,
//! - [`params`]: the parameters of neurons in a recipe,
//! - [`surrogate`]: the surrogate derivatives, on tensors,
//! - [`backend`]: the trait [`SpikingBackend`], the operations that have kernels,
//! - [`reference`](mod@reference): the same operations made of Burn's tensor operations,
//! - [`parity`]: compares the kernels of a backend with the reference on the current device,
//! - [`network`]: a whole spiking network as one operation,
//! - [`encoders`]: the table of encoders, which turn an image into input over time, with one module
//!   for each,
//! - [`dropout`]: dropout with the same mask at all time steps,
//! - [`readout`]: class scores from neurons that never fire.
//!
//! Time is folded into the batch, time-major: a tensor `[steps * batch, ...]` has image `b` at time
//! step `t` in row `t * batch + b`. Membrane potentials are arguments and results, never hidden
//! state, so nothing has to be reset between images.
//!
//! # Two CPU implementations of the neuron
//!
//! This crate's `kernel/cpu.rs` advances a layer whose currents and spikes are dense tensors of
//! `f32` or `f64`. Gradients are checked against finite differences in `f64`, so this
//! implementation is generic over the float type. `lasnn-spiking-kernels` has a second one for
//! whole networks: it works in SIMD registers, in `f32` only, and writes one bit for each spike.
//! The two share the equations, the order of operations and the surrogates of `lasnn-core`, so they
//! give the same bits.

pub mod backend;
mod default_kind;
pub mod dropout;
pub mod encoders;
mod kernel;
pub mod model;
pub mod models;
pub mod network;
pub mod params;
pub mod parity;
pub mod range;
pub mod readout;
pub mod reference;
pub mod surrogate;
mod tensors;

pub use backend::{ScanGrads, ScanParams, SpikingBackend};
pub use dropout::time_locked_dropout;
pub use encoders::{Direct, EncodedValues, Encoder, Encoding, Poisson, PoissonRange};
pub use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
pub use lasnn_core::surrogate::Surrogate;
pub use model::{FusedNeurons, NeuronError, NeuronKind, NeuronModel, TrainedParams};
pub use models::{Lif, LifConfig, NeuronConfig, Plif, PlifConfig, SpikingNeurons};
pub use network::{NetworkInput, NetworkPass, NetworkProbes};
pub use params::{
    InitialMembraneConfig, InitialMembranePer, LeakConfig, Sharing, ThresholdConfig, ThresholdPer,
};
pub use parity::{ParityCase, ParityError, check_parity};
pub use range::{LEAK_RANGE, LEAST_THRESHOLD};
pub use readout::mean_current;
