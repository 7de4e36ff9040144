//! What a user of the crate relies on, on every backend that is compiled in.

// Clippy's exception for tests does not reach the functions that tests share.
#![allow(clippy::unwrap_used)]

mod encoder;
mod golden;
mod gradients;
mod kernels;
mod layer;
mod support;
