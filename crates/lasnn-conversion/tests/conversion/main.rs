//! Tests of conversions.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

mod arrays;
mod batch_norms;
mod behaviour;
mod bounds;
mod golden;
mod helpers;
mod identities;
