//! The tests of this crate, on every backend that is compiled in.

// Clippy allows `unwrap` in tests, but not in the functions that tests share.
#![allow(clippy::unwrap_used)]

mod encoder;
mod golden;
mod gradients;
mod kernels;
mod layer;
mod membranes;
mod plif;
mod range;
mod spike_time;
mod support;
mod threads;
