//! The types that all crates of lasnn share.
//!
//! This crate does not depend on a tensor library, opens no file and reads no clock.
//!
//! - [`architecture`]: the description from which the ANN and the spiking network are both built,
//! - [`plan`]: a description with all shapes, parameters and operations worked out,
//! - [`shape`]: the shape of images and feature maps,
//! - [`tap`]: the depths at which a student is compared with its teacher,
//! - [`probe`]: what a forward pass returns beside the class scores,
//! - [`batch`]: labelled images in host memory,
//! - [`class_count`]: how many images of each class a network classifies correctly,
//! - [`kind`]: something that a recipe can name, in words,
//! - [`pass`]: everything that a forward pass needs to know apart from its input,
//! - [`precision`]: the number format of dense products,
//! - [`neuron`] and [`surrogate`]: the options of a neuron model and its surrogate gradient,
//! - [`mask`]: dropout masks,
//! - [`random`]: counter-based random streams, the only source of randomness,
//! - [`philox`]: the generator of these streams,
//! - [`simd`]: the choice of vector instructions.
//!
//! "ANN" stands for a network that does not spike.

pub mod architecture;
pub mod batch;
pub mod class_count;
pub mod kind;
pub mod mask;
pub mod neuron;
pub mod pass;
pub mod philox;
pub mod plan;
pub mod precision;
pub mod probe;
pub mod random;
pub mod shape;
pub mod simd;
pub mod surrogate;
pub mod tap;

pub use architecture::{Architecture, Layer};
pub use batch::{Batch, BatchSource};
pub use class_count::ClassCount;
pub use kind::Kind;
pub use mask::{Mask, MaskRows};
pub use pass::{Mode, Pass};
pub use plan::{ArchitectureError, Plan, PlannedLayer};
pub use precision::Precision;
pub use probe::{Probe, Probes, Trace};
pub use random::{Seed, Stream};
pub use shape::Shape;
pub use tap::Tap;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
