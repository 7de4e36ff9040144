//! The kernels: one file for each backend, and the backward passes for autodiff.

mod autodiff;
#[cfg(feature = "cubecl")]
mod cube;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod dispatch;
#[cfg(feature = "flex")]
mod flex;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod host;
#[cfg(feature = "ndarray")]
mod ndarray;
#[cfg(feature = "flex")]
pub mod recycle;
