//! Recipes: from the text a person wrote to an experiment that can be run.
//!
//! In two steps: [`raw`] is what was typed, [`resolved`] has every default filled in and every
//! name looked up. Work code sees only the second.

mod error;
mod find;
mod ignored;
mod notes;
mod raw;
mod resolved;
mod rules;
mod validate;

use std::path::Path;

use lasnn_core::{Architecture, Layer, Seed};
use lasnn_models::zoo;

pub use error::RecipeError;
pub use find::{find, names};
pub use notes::notes;
pub use resolved::{Ordinary, Recipe, Student};
pub use rules::{Counts, check_delay, check_encoding, has_batch_norm};
pub use validate::{Plans, validate};

use raw::{RawNetwork, RawOrdinary, RawRecipe};

/// Reads a recipe and fills in its defaults; `seed` takes the place of the recipe's.
///
/// # Errors
///
/// Names the file and the line, or the key, the value found and what was expected.
pub fn read(file: &Path, seed: Option<u32>) -> Result<Recipe, RecipeError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| RecipeError::Read { file: file.into(), source })?;
    parse(&text, file, seed)
}

/// Reads a recipe's text; errors call it `file`.
///
/// # Errors
///
/// As [`read`].
pub fn parse(text: &str, file: &Path, seed: Option<u32>) -> Result<Recipe, RecipeError> {
    let in_text = |error| RecipeError::in_text(file.into(), text, &error);
    let typed: toml::Table = toml::from_str(text).map_err(in_text)?;
    let raw: RawRecipe = toml::from_str(text).map_err(|error| match first_wrong_layer(&typed) {
        Some((key, message)) => {
            RecipeError::Layer { file: file.into(), key, message: error::plain(&message) }
        }
        None => in_text(error),
    })?;
    let folder = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if raw.name.is_empty() || raw.name.starts_with('.') || !raw.name.chars().all(folder) {
        return Err(RecipeError::Value {
            file: file.into(),
            key: "name".into(),
            found: format!("{:?}", raw.name),
            expected: "letters, digits, `-`, `_` and `.`, since it names a folder".into(),
        });
    }
    let data = raw.data.resolved().map_err(|source| RecipeError::Table {
        file: file.into(),
        table: "data",
        source: source.into(),
    })?;
    let mut recipe = Recipe {
        name: raw.name,
        seed: Seed(raw.seed),
        data,
        teacher: ordinary(raw.teacher, "teacher.network", file)?,
        intermediate: ordinary(raw.intermediate, "intermediate.network", file)?,
        spiking: raw.spiking,
        conversion: raw.conversion,
        student: Student {
            time_steps: raw.student.time_steps,
            without_distillation: raw.student.without_distillation,
            train_limit: raw.student.train_limit,
            train: raw.student.train,
            distillation: raw.student.distillation,
        },
        evaluation: raw.evaluation,
    };
    ignored::check(&typed, &recipe, file)?;
    recipe.seed = seed.map_or(recipe.seed, Seed);
    Ok(recipe)
}

/// The first layer that cannot be read, by its key, and why. The TOML reader tells the line where
/// the list begins, and not which layer it is.
fn first_wrong_layer(typed: &toml::Table) -> Option<(String, String)> {
    ["teacher", "intermediate"].into_iter().find_map(|table| {
        let layers = typed.get(table)?.get("network")?.get("layers")?.as_array()?;
        layers.iter().enumerate().find_map(|(index, layer)| {
            let error = layer.clone().try_into::<Layer>().err()?;
            Some((format!("{table}.network.layers[{index}]"), error.message().to_owned()))
        })
    })
}

fn ordinary(raw: RawOrdinary, key: &'static str, file: &Path) -> Result<Ordinary, RecipeError> {
    let network = match raw.network {
        RawNetwork::Inline(network) => network,
        RawNetwork::Named(name) => named(&name, key, file)?,
    };
    Ok(Ordinary { network, init: raw.init, train: raw.train })
}

fn named(name: &str, key: &'static str, file: &Path) -> Result<Architecture, RecipeError> {
    zoo::named(name).ok_or_else(|| RecipeError::Value {
        file: file.into(),
        key: key.into(),
        found: format!("{name:?}"),
        expected: format!("a table with `name` and `layers`, or one of {}", zoo::NAMES.join(", ")),
    })
}

#[cfg(test)]
mod tests;
