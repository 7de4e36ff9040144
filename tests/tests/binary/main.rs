//! The binary `lasnn` from end to end: what a user types, what it prints and what it writes.
//!
//! Cargo links every file directly under `tests/` into a program of its own, so all tests of the
//! binary are modules of this one.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

mod activations;
mod annotation;
mod batch_norm;
mod checkpoints;
mod combinations;
mod completions;
mod composition;
mod data;
#[cfg(target_os = "linux")]
mod disks;
mod download;
mod figures;
mod inspect;
mod max_pool;
mod methods;
mod neurons;
#[cfg(unix)]
mod packs;
mod pipeline;
mod plif;
mod quickstart;
mod refusals;
#[cfg(unix)]
mod resume;
mod run;
mod runs;
#[cfg(unix)]
mod signals;
mod stages;
mod summary;
mod threads;
