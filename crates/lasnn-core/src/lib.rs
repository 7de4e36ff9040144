//! What the crates of lasnn agree on, and nothing that does any of it.
//!
//! - [`architecture`]: the description that both the ordinary and the spiking network are built from,
//! - [`plan`]: the same description with every shape, parameter and operation counted,
//! - [`batch`]: labelled images on their way from a data set to a network,
//! - [`class_count`]: how many images of each class a network classifies correctly,
//! - [`random`]: counter-based random streams, the only source of randomness,
//! - [`pass`]: what a forward pass must know beside its input,
//! - [`tap`]: the points where a student is compared with its teacher,
//! - [`attention`]: what is compared there,
//! - [`objective`]: what a training loop minimises,
//! - [`shape`]: the shape of images and feature maps,
//! - [`state`]: the tensors of a network by name.

pub mod architecture;
pub mod attention;
pub mod batch;
pub mod class_count;
pub mod objective;
pub mod pass;
pub mod plan;
pub mod random;
pub mod shape;
pub mod state;
pub mod tap;

pub use architecture::{Architecture, Layer};
pub use attention::{Attention, attention_map};
pub use batch::{Batch, BatchSource};
pub use class_count::ClassCount;
pub use lasnn_kernels::Precision;
pub use objective::{Loss, LossPart, Objective, batch_mean, cross_entropy};
pub use pass::{Mode, Pass};
pub use plan::{ArchitectureError, Plan, PlannedLayer};
pub use random::{Seed, Stream};
pub use shape::Shape;
pub use state::{StateDict, StateError};
pub use tap::{Features, Tap, Tapped, Taps};
