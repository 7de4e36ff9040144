//! Layer-wise distillation: a spiking student learns to look where its teacher looks.
//!
//! - [`attention`]: the distance of attention maps (Eq. 7 of the LaSNN paper),
//! - [`loss`]: what pulls a student to its teacher, behind one trait,
//! - [`objective`]: that loss and the cross-entropy together (Eq. 8), as the training loop wants it.
//!
//! Teacher and student are known only as [`lasnn_nn::Tapped`].

pub mod attention;
pub mod config;
pub mod loss;
pub mod objective;

pub use attention::{Distance, attention_distance, match_sizes};
pub use config::{AttentionConfig, DistillationConfig, DistillationError};
pub use lasnn_nn::attention_map;
pub use loss::{AttentionLoss, DistillationLoss, WeightedPart};
pub use objective::Distillation;
