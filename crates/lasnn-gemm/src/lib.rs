//! Dense products on CPUs in `f32` and bfloat16, and the scratch memory that they use.
//!
//! - [`matrix`]: the product of two matrices,
//! - [`product`]: the parts of which other kernels (convolutions, for example) build their
//!   products: number formats, vector instructions and 16×16 tiles, selected at run time,
//! - [`transpose`]: the transpose of a matrix, computed in vector registers,
//! - [`memory`]: large blocks of memory that one training step leaves to the next one.
//!
//! Sums are always `f32`, and each sum is added up in one order, whatever the number of threads.
//! Instruction sets may differ from each other in the order of sums.
//!
//! All `unsafe` code of the lasnn kernels is in this crate; the kernel crates that use it contain
//! none.

pub mod matrix;
pub mod memory;
pub mod product;
pub mod transpose;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
