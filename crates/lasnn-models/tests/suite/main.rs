//! The networks against golden values, finite differences and their own promises. One binary, so
//! that Burn is linked once.

// Clippy excuses functions marked as tests only, not their helpers.
#![allow(clippy::unwrap_used)]

mod forward;
mod network;
mod pooling;
mod zoo;
