//! [`Kind`]: something that a recipe can name, in words.

use serde::Serialize;

/// One of the values that a key of a recipe can name, for instance a surrogate gradient.
///
/// An enum with such values has them as `KINDS`, in the order of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// The name in recipes.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Where it comes from, for instance a paper. Empty if there is nothing to cite.
    pub source: &'static str,
}
