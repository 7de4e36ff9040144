//! What can go wrong when a spiking network is built or simulated.

use lasnn_core::ArchitectureError;

/// An error of this crate.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SnnError {
    /// The network has a layer that cannot spike.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// A number in the recipe is out of range.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key in the recipe.
        key: &'static str,
        /// The value found.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
}
