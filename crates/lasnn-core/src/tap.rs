//! The depths at which a student is compared with its teacher.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the three depths at which the paper compares attention (section III-C).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tap {
    /// Near the image, where features are edges and textures.
    Low,
    /// In the middle, where features are parts of objects.
    Middle,
    /// Near the class scores, where features are whole objects.
    High,
}

impl Tap {
    /// All taps, from the image to the class scores.
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
