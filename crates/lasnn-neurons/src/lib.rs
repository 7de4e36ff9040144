//! Spiking neurons, their surrogate gradients and encoders, and the kernels that make them fast.
//!
//! - [`neuron`]: the equations of the neuron and the switches of a recipe,
//! - [`surrogate`]: the derivatives that stand in for the one a spike does not have,
//! - [`layer`]: a layer of spiking neurons as a module,
//! - [`backend`]: the few operations that a backend makes fast,
//! - [`reference`](mod@reference): the same operations out of stock tensor operations,
//! - [`network`]: a whole spiking network as one operation,
//! - [`parity`]: the comparison of the two on any device,
//! - [`encoder`]: how an image becomes input over time,
//! - [`dropout`]: one mask held over all time steps,
//! - [`readout`]: class scores from the neurons that never fire.
//!
//! Time is folded into the batch, time-major: a tensor `[steps * batch, ...]` has the image `b` at
//! step `t` in row `t * batch + b`. State is a value that goes in and comes out; nothing has to be
//! reset between images.

pub mod backend;
pub mod dropout;
pub mod encoder;
mod kernel;
pub mod layer;
pub mod network;
pub mod neuron;
pub mod parity;
pub mod readout;
pub mod reference;
pub mod surrogate;

pub use backend::SpikingBackend;
pub use dropout::time_locked_dropout;
pub use encoder::{Encoder, Encoding, PoissonRange};
pub use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
pub use lasnn_core::surrogate::Surrogate;
pub use layer::SpikingNeurons;
pub use network::{NetworkInput, NetworkPass};
pub use neuron::{NeuronConfig, NeuronError};
pub use parity::{ParityCase, ParityError, check_parity};
pub use readout::Readout;
