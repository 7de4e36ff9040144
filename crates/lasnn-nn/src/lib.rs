//! The contracts between networks, losses and the training loop, in terms of tensors.
//!
//! - [`tapped`]: the trait of a network that returns logits and feature maps,
//! - [`attention`]: the attention maps of these feature maps,
//! - [`objective`]: the trait of a loss, and cross-entropy,
//! - [`state`]: the tensors of a network by name,
//! - [`batch`]: images and labels as tensors.
//!
//! Networks implement [`Tapped`], losses implement [`Objective`], and the training loop calls both.
//! So neither the training loop nor the distillation loss depends on a concrete network.

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
