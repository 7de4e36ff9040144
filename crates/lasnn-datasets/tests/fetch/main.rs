//! Fetching data sets from a local test server.

// All of this is a test, the helpers too.
#![cfg(feature = "fetch")]
#![allow(clippy::unwrap_used)]

mod places;
mod server;
mod toy;
mod transfers;
