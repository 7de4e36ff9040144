//! The training loop and its parts on a network of a few hundred weights.

// Clippy knows a `#[test]` function, but not what such a function calls.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod golden;
mod learning;
mod optimizers;
mod parameters;
mod resuming;
mod tiny;
