//! The contracts between networks, losses and the training loop, in terms of tensors.
//!
//! - [`observable`]: the trait of a network that returns logits and the values of probes,
//! - [`attention`]: the attention maps of feature maps,
//! - [`mod@activation_map`]: the spike activation maps of spike trains,
//! - [`objective`]: the trait of a loss, and cross-entropy,
//! - [`constrained`]: the trait of a network whose parameters have ranges,
//! - [`state`]: the tensors of a network by name,
//! - [`batch`]: images and labels as tensors.
//!
//! Networks implement [`Observable`], losses implement [`Objective`], and the training loop calls
//! both. So neither the training loop nor a loss depends on a concrete network.

pub mod activation_map;
pub mod attention;
pub mod batch;
pub mod constrained;
pub mod objective;
pub mod observable;
pub mod state;

pub use activation_map::activation_map;
pub use attention::attention_map;
pub use batch::BatchTensors;
pub use constrained::Constrained;
pub use objective::{Loss, LossPart, Objective, batch_mean, cross_entropy};
pub use observable::{Observable, Observations, Taps};
pub use state::{StateDict, StateError};
