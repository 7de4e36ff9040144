//! Fetching data sets from a server of the test's own, and archives that somebody hostile made.

// All of this is a test, the helpers too.
#![cfg(feature = "fetch")]
#![allow(clippy::unwrap_used)]

mod archives;
mod mutations;
mod places;
mod server;
mod toy;
mod transfers;
