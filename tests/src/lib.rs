//! What the end-to-end tests share: the binary `lasnn`, a folder in which it runs, a recipe, and
//! readers for the files that it writes.
//!
//! The helpers panic when something is wrong and say what they saw, because their callers are
//! tests.

pub mod binary;
pub mod outputs;
pub mod real_data;
pub mod recipe;
pub mod sandbox;

pub use sandbox::{Outcome, Sandbox};
