//! Layer-wise distillation: a spiking student learns to attend to the same parts of an image as its
//! teacher.
//!
//! - [`attention`]: the distance of two attention maps (Eq. 7 of the LaSNN paper),
//! - [`loss`]: distillation losses as a trait, and the one of the paper,
//! - [`objective`]: cross-entropy and distillation loss together (Eq. 8), for the training loop,
//! - [`config`]: the `distillation` table of a recipe.
//!
//! Teacher and student may be any networks that implement [`lasnn_nn::Tapped`].

pub mod attention;
pub mod config;
pub mod loss;
pub mod objective;

pub use attention::{Distance, attention_distance, match_sizes};
pub use config::{AttentionConfig, DistillationConfig, DistillationError};
pub use lasnn_nn::attention_map;
pub use loss::{AttentionLoss, DistillationLoss, WeightedPart};
pub use objective::Distillation;
