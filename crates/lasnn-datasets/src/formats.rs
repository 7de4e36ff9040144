//! The file formats of data sets, as functions on bytes. No function here opens a file.
//!
//! Every parser accepts arbitrary bytes, checks them before it relies on them, and needs memory in
//! proportion to its input or to a limit that its documentation names. The folder `fuzz/` has a
//! fuzz target for each parser.

pub mod gzip;
pub mod idx;
pub mod jpeg;
pub mod picture;
pub mod png;
pub mod records;
pub mod text;
pub mod tiny_imagenet;
pub mod zip;
