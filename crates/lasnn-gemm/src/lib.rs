//! Dense products on CPUs, and the memory that they work in. All `unsafe` code of the kernels is here.
//!
//! - [`matrix`]: products of matrices, in `f32` or rounded to bfloat16,
//! - [`product`]: the instructions that compute products, chosen when the program runs,
//! - [`transpose`]: matrices transposed in registers,
//! - [`memory`]: blocks of memory that one training step leaves to the next one.

pub mod matrix;
pub mod memory;
pub mod product;
pub mod transpose;
