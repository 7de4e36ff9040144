//! Where each value of a recipe is written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::RecipeError;
use super::sources::Sources;

/// A place where a value of a recipe is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File {
        /// The path of the file.
        file: PathBuf,
        /// The line, counted from 1. `None` if the recipe does not contain the value.
        line: Option<usize>,
    },
    /// An option `--set`, as typed.
    Setting(String),
}

impl From<&Path> for Place {
    fn from(file: &Path) -> Self {
        Self::File { file: file.into(), line: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: Some(line) } => write!(f, "{}:{line}", file.display()),
            Self::File { file, line: None } => write!(f, "{}", file.display()),
            Self::Setting(typed) => write!(f, "--set {typed}"),
        }
    }
}

/// The place of each value of a recipe.
#[derive(Clone, Debug)]
pub struct Origins {
    /// The place of a value that the recipe does not contain.
    file: Place,
    /// Keys are paths such as `teacher.network.layers[0].channels`.
    places: BTreeMap<String, Place>,
}

impl Origins {
    /// The places of all values of a composed recipe, whose own file is `file`.
    pub fn new(recipe: &DeValue<'_>, sources: &Sources, file: &Path) -> Self {
        let mut places = BTreeMap::new();
        if let DeValue::Table(table) = recipe {
            add_table("", table, sources, &mut places);
        }
        Self { file: file.into(), places }
    }

    /// The file `file`, of which no line is known.
    pub fn unknown(file: &Path) -> Self {
        Self { file: file.into(), places: BTreeMap::new() }
    }

    /// Adds to an error of a recipe where the wrong value is written.
    ///
    /// # Errors
    ///
    /// The error of `result`.
    pub fn locate<T>(&self, result: Result<T, RecipeError>) -> Result<T, RecipeError> {
        result.map_err(|error| match error {
            RecipeError::Value { key, found, expected, .. } => {
                RecipeError::Value { at: self.place(&key), key, found, expected }
            }
            RecipeError::Table { table, source, .. } => {
                let at = self.place(&key_of(&table, &source.to_string()));
                RecipeError::Table { at, table, source }
            }
            error => error,
        })
    }

    /// The place of a value, or of the smallest table around it that the recipe contains.
    pub fn place(&self, key: &str) -> Place {
        let mut key = key;
        loop {
            match (self.places.get(key), key.rfind(['.', '['])) {
                (Some(place), _) => return place.clone(),
                (None, Some(end)) => key = &key[..end],
                (None, None) => return self.file.clone(),
            }
        }
    }
}

/// The path of the key that an error about `table` names.
///
/// The libraries know nothing of recipes as a whole. Their messages read "`epochs` is 0", or
/// "network `n`, layer 3 (conv): channels is 0", or begin with the whole path of the key.
fn key_of(table: &str, message: &str) -> String {
    let subject = message.split(" is ").next().unwrap_or_default();
    let key = subject.rsplit(' ').next().unwrap_or_default().trim_matches('`');
    let layer = subject.split_once(", layer ").and_then(|(_, rest)| rest.split(' ').next());
    match layer {
        _ if key.starts_with(table) => key.to_owned(),
        Some(index) => format!("{table}.layers[{}].{key}", index.trim_end_matches(':')),
        None => format!("{table}.{key}"),
    }
}

fn add_table(
    path: &str,
    table: &DeTable<'_>,
    sources: &Sources,
    places: &mut BTreeMap<String, Place>,
) {
    for (key, value) in table.iter() {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        add_value(path, value, key.span().start, sources, places);
    }
}

fn add_value(
    path: String,
    value: &Spanned<DeValue<'_>>,
    position: usize,
    sources: &Sources,
    places: &mut BTreeMap<String, Place>,
) {
    match value.get_ref() {
        DeValue::Table(table) => add_table(&path, table, sources, places),
        DeValue::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                let position = element.span().start;
                add_value(format!("{path}[{index}]"), element, position, sources, places);
            }
        }
        _ => {}
    }
    places.insert(path, sources.place(position));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_message_is_found() {
        let check = |table: &str, message: &str, expected: &str| {
            assert_eq!(key_of(table, message), expected, "{message}");
        };
        check("teacher.train", "`epochs` is 0, expected at least 1", "teacher.train.epochs");
        check("conversion", "conversion.scale is -1, expected", "conversion.scale");
        check("data", "`data.labels` is given for the source `digits`", "data.labels");
        check(
            "teacher.network",
            "network `n`, layer 3 (conv): channels is 0, expected at least 1",
            "teacher.network.layers[3].channels",
        );
    }
}
