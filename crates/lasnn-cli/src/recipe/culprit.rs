//! The wrong key of a table with a `kind`.
//!
//! The kind decides which keys a table has, so its reader keeps all values until it knows the kind.
//! Positions are lost thereby, and an error names the table only. Its values may be written in
//! several files. So the keys are left out one at a time: the wrong key is the one without which
//! the error is another one.

use serde::Deserialize;
use serde_path_to_error::{Path, Segment};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::raw::RawRecipe;

/// The tables whose `kind` has a default.
const WITH_DEFAULT_KIND: [&str; 1] = ["spiking.neuron"];

/// The position of the wrong key of the table at `path`. `None` if the table has no kind, or if the
/// error is not about one of its keys.
pub fn culprit(recipe: &Spanned<DeValue<'_>>, path: &Path, message: &str) -> Option<usize> {
    let has_kind = WITH_DEFAULT_KIND.contains(&path.to_string().as_str());
    let path: Vec<&Segment> = path.iter().collect();
    let mut whole = recipe.clone();
    let table = inner(&mut whole, &path)?;
    if !has_kind && !table.contains_key("kind") {
        return None;
    }
    // A key that is missing is written nowhere.
    if message.starts_with("missing field") {
        return None;
    }
    // An error about the kind itself has its own path.
    let mut suspects = table.keys().filter(|key| *key.get_ref() != "kind");
    let found = suspects.find(|key| changes(recipe, &path, key.get_ref(), message));
    found.map(|key| key.span().start)
}

/// Whether the error differs if `key` is left out.
fn changes(recipe: &Spanned<DeValue<'_>>, path: &[&Segment], key: &str, message: &str) -> bool {
    let mut whole = recipe.clone();
    if let Some(table) = inner(&mut whole, path) {
        table.remove(key);
    }
    let error = RawRecipe::deserialize(ValueDeserializer::from(whole)).err();
    error.is_none_or(|error| error.message() != message)
}

/// The table at `path`.
fn inner<'a, 'i>(
    whole: &'a mut Spanned<DeValue<'i>>,
    path: &[&Segment],
) -> Option<&'a mut DeTable<'i>> {
    let mut value = whole;
    for segment in path {
        value = match (segment, value.get_mut()) {
            (Segment::Map { key }, DeValue::Table(table)) => table.get_mut(key.as_str())?,
            (Segment::Seq { index }, DeValue::Array(list)) => list.get_mut(*index)?,
            _ => return None,
        };
    }
    match value.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}
