//! The program as far as the numbers of a run depend on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Two programs that are equal compute the same numbers from the same recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// A hash of the sources of the numeric crates, made when the program was built.
    pub sources: String,
    /// The vector instructions that the CPU kernels use on this processor. They change the order
    /// of sums.
    pub simd: String,
}

impl Program {
    /// This program on this processor.
    pub fn here() -> Self {
        Self { sources: env!("LASNN_SOURCES").into(), simd: lasnn_backend::simd_level() }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may come from a file, so it is not cut at a byte.
        let sources: String = self.sources.chars().take(8).collect();
        write!(f, "sources {sources} on {}", self.simd)
    }
}
