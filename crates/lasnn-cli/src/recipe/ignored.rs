//! Checks that no value of a recipe is ignored.
//!
//! Readers of structured text tolerate some mistakes: they read the first two numbers of a list of
//! three, or a list instead of a table. So the resolved recipe is written as TOML again and
//! compared with the recipe as typed: it must contain every typed key with the same value.

use std::path::Path;

use lasnn_neurons::LeakConfig;
use toml::Value;

use super::error::RecipeError;
use super::resolved::Recipe;

/// Tables that are left out of a resolved recipe if they have their defaults.
const LEFT_OUT: [&str; 3] =
    ["spiking.neuron.threshold", "spiking.neuron.initial_membrane", ".train.groups"];

/// Checks that `recipe` contains every value of `typed`.
///
/// # Errors
///
/// Names the first key that is missing, with its value and what was expected.
pub fn check(typed: &toml::Table, recipe: &Recipe, file: &Path) -> Result<(), RecipeError> {
    let resolved = Value::try_from(recipe).map_err(|source| RecipeError::Table {
        at: file.into(),
        table: String::new(),
        source: source.into(),
    })?;
    match difference("", &Value::Table(typed.clone()), &resolved) {
        None => Ok(()),
        Some((key, found, expected)) => {
            Err(RecipeError::Value { at: file.into(), key, found, expected })
        }
    }
}

/// The first key whose typed value is not in the resolved recipe: the key, the value, and what is
/// expected.
fn difference(key: &str, typed: &Value, resolved: &Value) -> Option<(String, String, String)> {
    let differs = |expected: String| Some((key.to_owned(), typed.to_string(), expected));
    match (typed, resolved) {
        _ if key == "spiking.neuron.leak" && same_leak(typed, resolved) => None,
        (Value::Table(typed), Value::Table(resolved)) => typed.iter().find_map(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            match resolved.get(name) {
                Some(resolved) => difference(&key, value, resolved),
                None if value.is_table() && LEFT_OUT.iter().any(|end| key.ends_with(end)) => None,
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
        // The name of a network is replaced by its layers.
        (Value::String(_), Value::Table(_)) if key.ends_with(".network") => None,
        (_, Value::Table(resolved)) => {
            let keys: Vec<_> = resolved.keys().map(|key| format!("`{key}`")).collect();
            differs(format!("a table with keys such as {}", keys.join(", ")))
        }
        // Only the key `max_pool` replaces one kind of a layer by another.
        (Value::String(typed), Value::String(resolved))
            if typed == "max-pool" && resolved == "average-pool" =>
        {
            None
        }
        _ if equal(typed, resolved) => None,
        _ => differs(format!("a value such as {resolved}")),
    }
}

/// Whether two values are the same leak, which can be written in several ways.
fn same_leak(typed: &Value, resolved: &Value) -> bool {
    let leak = |value: &Value| value.clone().try_into::<LeakConfig>().ok();
    leak(typed).is_some() && leak(typed) == leak(resolved)
}

/// Whether two values that are no tables and no lists are equal. The integer `1` equals `1.0`.
fn equal(typed: &Value, resolved: &Value) -> bool {
    let number = |value: &Value| match *value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    };
    match (number(typed), number(resolved)) {
        // A number that is stored in single precision is rounded.
        (Some(typed), Some(resolved)) => {
            let both_nan = typed.is_nan() && resolved.is_nan();
            both_nan || typed == resolved || (typed - resolved).abs() <= 1e-6 * typed.abs()
        }
        _ => typed == resolved,
    }
}
