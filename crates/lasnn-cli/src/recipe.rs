//! Recipes: from the text that a person has written to an experiment that can be run.
//!
//! Reading has two steps. [`raw`] is the recipe as typed. [`resolved`] has all defaults filled in
//! and all networks looked up; the rest of the program sees only the second. [`validate()`] then
//! checks a recipe against its images, and [`notes()`] mentions keys that have no effect.

mod error;
mod find;
mod ignored;
mod notes;
mod raw;
mod resolved;
mod retired;
mod rules;
mod validate;

use std::path::Path;

use lasnn_core::{Architecture, Seed};
use lasnn_models::zoo;

pub use error::RecipeError;
pub use find::{find, names};
pub use notes::notes;
pub use resolved::{AnnConfig, Recipe, StudentConfig};
pub use rules::{Counts, check_delay, check_encoding, has_batch_norm};
pub use validate::{Plans, validate};

use raw::{RawAnn, RawNetwork, RawRecipe};

/// Reads a recipe and fills in its defaults. `seed` replaces the seed of the recipe.
///
/// # Errors
///
/// Names the file and the line, or the key, the value found and the value expected.
pub fn read(file: &Path, seed: Option<u32>) -> Result<Recipe, RecipeError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| RecipeError::Read { file: file.into(), source })?;
    parse(&text, file, seed)
}

/// Parses the text of a recipe and fills in its defaults. Errors name `file`.
///
/// # Errors
///
/// As [`read`].
pub fn parse(text: &str, file: &Path, seed: Option<u32>) -> Result<Recipe, RecipeError> {
    let syntax = |error| RecipeError::in_text(file.into(), text, None, &error);
    let typed: toml::Table = toml::from_str(text).map_err(syntax)?;
    retired::check(text, file)?;
    let reader = toml::Deserializer::parse(text).map_err(syntax)?;
    let raw: RawRecipe = serde_path_to_error::deserialize(reader).map_err(|error| {
        let key = error.path().to_string();
        RecipeError::in_text(file.into(), text, Some(&key), error.inner())
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
        teacher: ann(raw.teacher, "teacher.network", file)?,
        intermediate: ann(raw.intermediate, "intermediate.network", file)?,
        spiking: raw.spiking,
        conversion: raw.conversion,
        student: StudentConfig {
            time_steps: raw.student.time_steps,
            without_distillation: raw.student.without_distillation,
            train_limit: raw.student.train_limit,
            train: raw.student.train,
            losses: raw.student.losses,
        },
        evaluation: raw.evaluation,
    };
    ignored::check(&typed, &recipe, file)?;
    recipe.seed = seed.map_or(recipe.seed, Seed);
    Ok(recipe)
}

fn ann(raw: RawAnn, key: &'static str, file: &Path) -> Result<AnnConfig, RecipeError> {
    let network = match raw.network {
        RawNetwork::Inline(network) => network,
        RawNetwork::Named(name) => named(&name, key, file)?,
    };
    Ok(AnnConfig { network, init: raw.init, train: raw.train })
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
