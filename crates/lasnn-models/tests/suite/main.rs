//! Tests of the networks against golden values, finite differences and the documentation. They are
//! one binary, so that Burn is linked only once.

// Clippy allows `unwrap` in tests, but not in their helpers.
#![allow(clippy::unwrap_used)]

mod activations;
mod dropout;
mod forward;
mod network;
mod pooling;
mod zoo;
