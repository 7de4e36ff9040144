//! The errors of this crate.

use lasnn_core::ArchitectureError;

/// Why a spiking network cannot be built.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SnnError {
    /// The network has a layer that cannot be made spiking.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The network cannot be corrected by offset spikes.
    #[error(
        "a network cannot be corrected by offset spikes if {reason}, expected integrate-and-fire \
         neurons without leak, with the reset `subtract`, that integrate and then fire, and an \
         input that is the same at every time step"
    )]
    Offset {
        /// The reason, with the network as the subject.
        reason: &'static str,
    },
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
