//! What networks and training agree on, in terms of tensors.
//!
//! - [`tapped`]: the trait of a network whose logits and feature maps can be read,
//! - [`attention`]: the attention maps that are compared there,
//! - [`objective`]: what a training loop minimises,
//! - [`state`]: the tensors of a network by name,
//! - [`batch`]: images and labels as tensors.

pub mod attention;
pub mod batch;
pub mod objective;
pub mod state;
pub mod tapped;

pub use attention::{Attention, attention_map};
pub use batch::BatchTensors;
pub use objective::{Loss, LossPart, Objective, batch_mean, cross_entropy};
pub use state::{StateDict, StateError};
pub use tapped::{Features, Tapped, Taps};
