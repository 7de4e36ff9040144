//! Nothing that a recipe says is ignored.
//!
//! Readers of structured text are generous: one takes the first two numbers of a list of three,
//! another a list in place of a table. So the recipe as typed is compared with the resolved recipe,
//! written out again: every key that was typed must be there with the same value.

use std::path::Path;

use toml::Value;

use super::error::RecipeError;
use super::resolved::Recipe;

/// Checks that every value of `typed` has come into `recipe`.
///
/// # Errors
///
/// Names the first key that has not, with what became of it.
pub fn check(typed: &toml::Table, recipe: &Recipe, file: &Path) -> Result<(), RecipeError> {
    let resolved = Value::try_from(recipe).map_err(|source| RecipeError::Table {
        file: file.to_owned(),
        table: "",
        source: source.into(),
    })?;
    match difference("", &Value::Table(typed.clone()), &resolved) {
        None => Ok(()),
        Some((key, found, expected)) => {
            Err(RecipeError::Value { file: file.to_owned(), key, found, expected })
        }
    }
}

/// The first key whose typed value is not in the resolved recipe, that value, and what is expected.
fn difference(key: &str, typed: &Value, resolved: &Value) -> Option<(String, String, String)> {
    let differs = |expected: String| Some((key.to_owned(), typed.to_string(), expected));
    match (typed, resolved) {
        (Value::Table(typed), Value::Table(resolved)) => typed.iter().find_map(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            match resolved.get(name) {
                Some(resolved) => difference(&key, value, resolved),
                None => {
                    let keys: Vec<_> = resolved.keys().map(|key| format!("`{key}`")).collect();
                    let expected = format!("no such key here; known are {}", keys.join(", "));
                    Some((key, value.to_string(), expected))
                }
            }
        }),
        (Value::Array(typed), Value::Array(resolved)) if typed.len() == resolved.len() => {
            let mut pairs = typed.iter().zip(resolved).enumerate();
            pairs.find_map(|(index, (typed, resolved))| {
                difference(&format!("{key}[{index}]"), typed, resolved)
            })
        }
        (Value::Array(_), Value::Array(resolved)) => {
            differs(format!("a list of length {}", resolved.len()))
        }
        // The name of a network stands for its layers.
        (Value::String(_), Value::Table(_)) if key.ends_with(".network") => None,
        (_, Value::Table(resolved)) => {
            let keys: Vec<_> = resolved.keys().map(|key| format!("`{key}`")).collect();
            differs(format!("a table with keys such as {}", keys.join(", ")))
        }
        _ if same(typed, resolved) => None,
        _ => differs(format!("a value such as {resolved}")),
    }
}

/// Whether two plain values are the same; `1` is `1.0`.
fn same(typed: &Value, resolved: &Value) -> bool {
    let number = |value: &Value| match *value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    };
    match (number(typed), number(resolved)) {
        // A number that is stored in single precision comes back rounded.
        (Some(typed), Some(resolved)) => {
            let both_nan = typed.is_nan() && resolved.is_nan();
            both_nan || typed == resolved || (typed - resolved).abs() <= 1e-6 * typed.abs()
        }
        _ => typed == resolved,
    }
}
