//! The losses of a spiking student: cross-entropy with the labels, distillation from a teacher or
//! between the student's own time steps, and regularisation.
//!
//! - [`losses`]: the table of losses, with one module for each,
//! - [`loss`]: the traits that a loss implements,
//! - [`on`]: whether a loss takes the mean logits, their sum, or those of each time step,
//! - [`attention`]: the distance of two attention maps (Eq. 7 of the LaSNN paper),
//! - `comparison`: maps of student and teacher at some depths,
//! - [`mod@divergence`]: the divergence of class probabilities at a temperature,
//! - [`check()`]: whether losses can be computed with two networks,
//! - [`objective`]: all losses of a student together (Eq. 8), for the training loop.
//!
//! Teacher and student may be any networks that implement [`lasnn_nn::Observable`].

pub mod attention;
pub mod check;
mod comparison;
pub mod divergence;
pub mod loss;
pub mod losses;
pub mod objective;
pub mod on;

pub use attention::{
    Distance, Normalise, attention_distance, attention_divergence, match_sizes,
    raw_attention_distance,
};
pub use check::{LossError, LossesError, Subject, check};
pub use divergence::{divergence, scaled_divergence};
pub use lasnn_nn::attention_map;
pub use loss::{Described, LossInputs, LossKind, StudentLoss};
pub use losses::{
    Attention, CrossEntropy, CumulativeLogits, FiringRate, GradientAttention, LogitRegularisation,
    Logits, LossConfig, StepDistillation,
};
pub use objective::StudentObjective;
pub use on::On;
