//! The errors of this crate.

use lasnn_core::ArchitectureError;

/// Why a spiking network cannot be built.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SnnError {
    /// The network has a layer that cannot be made spiking.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// A number in the recipe is out of range.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key in the recipe.
        key: &'static str,
        /// The value found.
        found: String,
        /// The expected range.
        expected: &'static str,
    },
}
