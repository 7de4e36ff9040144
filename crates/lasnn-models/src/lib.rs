//! Non-spiking networks: the teachers, and the intermediate networks that are converted into
//! spiking students.
//!
//! - [`zoo`]: the named architectures, as data,
//! - [`network`]: builds a Burn module from a [`Plan`](lasnn_core::Plan),
//! - [`activations`]: the table of activations, with one module for each,
//! - [`init`]: the initial weights.
//!
//! ```
//! # use burn::tensor::backend::Backend;
//! # fn example<B: Backend>(device: &B::Device) -> Result<(), lasnn_core::ArchitectureError> {
//! use lasnn_core::{Seed, Shape};
//! use lasnn_models::{Init, Network, zoo};
//!
//! let image = Shape { channels: 3, height: 32, width: 32 };
//! let vgg5 = zoo::named("vgg5").expect("vgg5 is in the zoo").plan(image, 10)?;
//! let network = Network::<B>::new(&vgg5, Init::Kaiming, Seed(1), device);
//! # Ok(())
//! # }
//! ```

pub mod activations;
pub mod differentiable;
pub mod init;
pub mod network;
pub mod zoo;

mod convolution;
mod dense;
mod layer;
mod linear;
mod norm;
mod residual;
mod trace;

pub use activations::clip::ClipConfig;
pub use activations::qcfs::QcfsConfig;
pub use activations::relu::ReluConfig;
pub use activations::{ActivationConfig, ActivationError};
pub use differentiable::DifferentiableNetwork;
pub use init::Init;
pub use network::Network;
