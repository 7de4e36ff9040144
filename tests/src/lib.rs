//! What the end-to-end tests share: the binary `lasnn`, a folder for it to work in, and what it
//! leaves there.
//!
//! The helpers panic where something is wrong, with what was seen: their callers are tests.

pub mod binary;
pub mod recipe;
pub mod workplace;

pub use workplace::Workplace;
