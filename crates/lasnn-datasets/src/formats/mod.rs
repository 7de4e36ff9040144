//! The formats that data sets come in, as functions on bytes: no file is opened here.
//!
//! Every parser takes bytes that anybody may have made, finds what is wrong before it relies on it,
//! and needs memory in proportion to the bytes it is given or to a bound that it names. Each has a
//! fuzz target of its name in `fuzz/`.

pub mod gzip;
pub mod idx;
pub mod jpeg;
pub mod pack;
pub mod picture;
pub mod png;
pub mod records;
pub mod text;
pub mod tiny_imagenet;
pub mod zip;
