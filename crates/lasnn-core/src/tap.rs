//! The depths at which a student is compared with its teacher.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the three depths at which the paper compares attention (section III-C).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tap {
    /// Near the image: edges and textures.
    Low,
    /// Halfway: parts of things.
    Middle,
    /// Near the classes: whole things.
    High,
}

impl Tap {
    /// All taps, from the image to the classes.
    pub const ALL: [Self; 3] = [Self::Low, Self::Middle, Self::High];
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Middle => "middle",
            Self::High => "high",
        })
    }
}
