//! Recipes: from the text that a person has written to an experiment that can be run.
//!
//! Reading has three steps. [`compose`] makes one table of the file, the files that it extends, and
//! the options `--set`; [`origins`] remembers where each value is written. [`raw`] is the recipe as
//! typed. [`resolved`] has all defaults filled in and all networks looked up; the rest of the
//! program sees only the last. [`Graph`] has its stages. [`validate()`] then checks a recipe
//! against its images, and [`notes()`] mentions keys that have no effect.

mod compose;
mod culprit;
mod error;
mod find;
mod graph;
mod ignored;
mod keys;
mod network;
mod notes;
mod origins;
mod raw;
mod resolved;
mod retired;
mod rules;
mod setting;
mod sources;
mod validate;

use std::path::Path;

use lasnn_core::{Architecture, Seed};
use lasnn_models::zoo;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

pub use error::RecipeError;
pub use find::{find, names};
pub use graph::{AnnWork, Graph, Node, StudentWork, Work};
pub use keys::keys;
pub use network::{StageNetwork, TimeSteps, UnknownStage};
pub use notes::notes;
pub use origins::Origins;
pub use resolved::{Recipe, Start};
pub use rules::{check_delay, check_encoding, has_batch_norm};
pub use setting::Setting;
pub use validate::{Plans, validate};

use raw::{RawAddedStudent, RawAnn, RawNetwork, RawRecipe, RawStage};
use resolved::{
    AddedStage, AddedStudent, AnnConfig, IntermediateConfig, StudentConfig, StudentStart,
};
use sources::Sources;

/// Values of the command line in place of those in the file of a recipe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// The options `--set`.
    pub set: &'a [Setting],
    /// The option `--seed`, which replaces any other seed.
    pub seed: Option<u32>,
}

/// Reads a recipe and fills in its defaults. Also returns where its values are written.
///
/// # Errors
///
/// Names the file and the line, or the option, and the key, the value found and the value expected.
pub fn read(file: &Path, changes: Changes<'_>) -> Result<(Recipe, Origins), RecipeError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| RecipeError::Read { file: file.into(), source })?;
    read_text(text, file, changes)
}

/// Parses the text of a recipe without options of the command line. Errors name `file`.
#[cfg(test)]
pub fn parse(text: &str, file: &Path, seed: Option<u32>) -> Result<Recipe, RecipeError> {
    read_text(text.to_owned(), file, Changes { set: &[], seed }).map(|(recipe, _)| recipe)
}

/// Like [`read`], but the text of `file` is known.
fn read_text(
    text: String,
    file: &Path,
    changes: Changes<'_>,
) -> Result<(Recipe, Origins), RecipeError> {
    let sources = Sources::follow(text, file, changes.set)?;
    let composed = compose::compose(&sources, changes.set)?;
    let origins = Origins::new(composed.get_ref(), &sources, file);
    let (typed, raw) = deserialize(&composed, &sources)?;
    let mut recipe = origins.locate(resolve(raw, &typed, file))?;
    recipe.seed = changes.seed.map_or(recipe.seed, Seed);
    Ok((recipe, origins))
}

/// A composed recipe as a plain table, and as a recipe as typed.
fn deserialize(
    composed: &Spanned<DeValue<'_>>,
    sources: &Sources,
) -> Result<(toml::Table, RawRecipe), RecipeError> {
    let reader = || ValueDeserializer::from(composed.clone());
    let position = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let typed = toml::Table::deserialize(reader())
        .map_err(|error| sources.error(position(&error), None, error.message()))?;
    if let Some((position, message)) = retired::find(composed.get_ref()) {
        return Err(sources.error(position, None, &message));
    }
    let raw = serde_path_to_error::deserialize(reader()).map_err(|found| {
        let (path, error) = (found.path(), found.inner());
        let culprit = culprit::culprit(composed, path, error.message());
        let position = culprit.unwrap_or_else(|| position(error));
        sources.error(position, Some(&path.to_string()), error.message())
    })?;
    Ok((typed, raw))
}

/// Fills in the defaults of a recipe as typed. `typed` is the same recipe as a plain table.
fn resolve(raw: RawRecipe, typed: &toml::Table, file: &Path) -> Result<Recipe, RecipeError> {
    let folder = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if raw.name.is_empty() || raw.name.starts_with('.') || !raw.name.chars().all(folder) {
        return Err(RecipeError::Value {
            at: file.into(),
            key: "name".into(),
            found: format!("{:?}", raw.name),
            expected: "letters, digits, `-`, `_` and `.`, since it names a folder".into(),
        });
    }
    let data = raw.data.resolved().map_err(|source| RecipeError::Table {
        at: file.into(),
        table: "data".into(),
        source: source.into(),
    })?;
    let student = StudentConfig {
        start: raw.student.start,
        teacher: raw.student.teacher,
        threshold: match raw.student.start {
            StudentStart::Random => Some(raw.student.threshold.unwrap_or(graph::THRESHOLD)),
            StudentStart::Converted => raw.student.threshold,
        },
        batch_norm: raw.student.batch_norm,
        time_steps: raw.student.time_steps,
        without_distillation: raw.student.without_distillation,
        train_limit: raw.student.train_limit,
        train: raw.student.train,
        losses: raw.student.losses,
    };
    let added = raw.stages.into_iter().map(|(name, stage)| {
        let stage = match stage {
            RawStage::Ann(raw) => AddedStage::Ann(ann(raw, &format!("stages.{name}"), file)?),
            RawStage::Student(raw) => AddedStage::Student(added_student(raw, &student)),
        };
        Ok::<_, RecipeError>((name, stage))
    });
    let recipe = Recipe {
        name: raw.name,
        seed: Seed(raw.seed),
        data,
        teacher: raw.teacher.map(|raw| ann(raw, "teacher", file)).transpose()?,
        intermediate: IntermediateConfig {
            network: raw.intermediate.max_pool.replaced(network(
                raw.intermediate.network,
                "intermediate",
                file,
            )?),
            max_pool: raw.intermediate.max_pool,
            init: raw.intermediate.init,
            activation: raw.intermediate.activation,
            train: raw.intermediate.train,
        },
        spiking: raw.spiking,
        conversion: raw.conversion,
        stages: added.collect::<Result<_, _>>()?,
        student,
        evaluation: raw.evaluation,
    };
    ignored::check(typed, &recipe, file)?;
    Graph::new(&recipe).map_err(|contradiction| contradiction.in_file(file))?;
    Ok(recipe)
}

/// Fills in the defaults of a student in `[stages]`.
fn added_student(raw: RawAddedStudent, student: &StudentConfig) -> AddedStudent {
    AddedStudent {
        threshold: match raw.from {
            Start::Random => Some(raw.threshold.unwrap_or(graph::THRESHOLD)),
            Start::Stage(_) => raw.threshold,
        },
        from: raw.from,
        teacher: raw.teacher,
        batch_norm: raw.batch_norm,
        time_steps: raw.time_steps.unwrap_or(student.time_steps),
        train_limit: raw.train_limit,
        train: raw.train,
        losses: raw.losses.unwrap_or_else(|| student.losses.clone()),
    }
}

fn ann(raw: RawAnn, table: &str, file: &Path) -> Result<AnnConfig, RecipeError> {
    let RawAnn { network: described, max_pool, init, activation, train } = raw;
    let network = max_pool.replaced(network(described, table, file)?);
    Ok(AnnConfig { network, max_pool, init, activation, train })
}

/// The layers of the network in `table`.
fn network(raw: RawNetwork, table: &str, file: &Path) -> Result<Architecture, RecipeError> {
    let name = match raw {
        RawNetwork::Inline(network) => return Ok(network),
        RawNetwork::Named(name) => name,
    };
    zoo::named(&name).ok_or_else(|| RecipeError::Value {
        at: file.into(),
        key: format!("{table}.network"),
        found: format!("{name:?}"),
        expected: format!("a table with `name` and `layers`, or one of {}", zoo::NAMES.join(", ")),
    })
}

#[cfg(test)]
mod tests;
