//! One training loop for every stage, with optimisers, schedules, checkpoints and resuming.
//!
//! - [`config`]: the `train` table of a recipe,
//! - [`sgd`], [`adam`]: PyTorch's update rules as pure functions,
//! - [`groups`]: learning rate and weight decay by the kind of a parameter,
//! - [`schedule`]: the learning rate by epoch,
//! - [`gradients`]: gradients by name, their sum over micro-batches, and clipping,
//! - [`optimizer`]: an update rule applied to all parameters of a network,
//! - [`objective`]: the cross-entropy of logits (class scores) and labels,
//! - [`evaluate`](mod@evaluate): accuracy and loss on a split,
//! - [`mod@fit`]: the loop,
//! - [`record`]: what the loop measures, and the observer that it calls,
//! - [`checkpoint`]: tensors and metadata in one file, written atomically,
//! - [`error`]: the errors.
//!
//! The loop knows a network as [`lasnn_nn::Observable`] and what it minimises as
//! [`lasnn_nn::Objective`]. It knows no concrete network and no data set.

pub mod adam;
pub mod checkpoint;
pub mod config;
mod diagnosis;
pub mod error;
pub mod evaluate;
pub mod fit;
pub mod gradients;
pub mod groups;
mod identity;
pub mod objective;
pub mod optimizer;
pub mod record;
mod resume;
pub mod schedule;
pub mod sgd;

pub use adam::Adam;
pub use checkpoint::Checkpoint;
pub use config::{OptimizerConfig, TrainConfig};
pub use error::{CheckpointError, ConfigError, TrainError};
pub use evaluate::{Evaluation, evaluate, evaluate_while};
pub use fit::{BEST, FitContext, Fitted, LAST, fit};
pub use gradients::Gradients;
pub use groups::{Group, Groups, ParamKind};
pub use objective::CrossEntropy;
pub use optimizer::Optimizer;
pub use record::{EpochRecord, Observer, Started, StepInfo};
pub use schedule::{Position, Schedule};
pub use sgd::Sgd;
