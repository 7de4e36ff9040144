//! Checks whether a recipe can be run on its images, before anything is trained.

use std::path::Path;

use lasnn_core::{Plan, Shape};
use lasnn_datasets::Source;
use lasnn_distillation::Subject;

use crate::stage::StageName;

use super::error::RecipeError;
use super::resolved::{AnnConfig, Recipe};
use super::rules::{self, Contradiction, Counts};

/// The networks of a recipe, planned for the shape of its images.
#[derive(Clone, Debug)]
pub struct Plans {
    /// The teacher.
    pub teacher: Plan,
    /// The intermediate network and the student.
    pub student: Plan,
}

impl Plans {
    /// The plan of the network of a stage.
    pub fn of(&self, stage: StageName) -> &Plan {
        match stage {
            StageName::Teacher => &self.teacher,
            _ => &self.student,
        }
    }
}

/// Plans the networks of a recipe for images of `shape` in `classes` classes and checks all values.
///
/// # Errors
///
/// Names the file, the table or key, the value found and the value expected.
pub fn validate(
    recipe: &Recipe,
    file: &Path,
    shape: Shape,
    classes: usize,
    counts: Counts,
) -> Result<Plans, RecipeError> {
    let check = Check { file };
    // A folder may contain a validation split. This is known only after the folder has been read.
    if recipe.data.source != Source::Folder {
        check.value(
            "data.validation",
            recipe.data.validation,
            1,
            "since the validation images choose the epoch",
        )?;
    }
    let plan = |table, ann: &AnnConfig| {
        let plan = check.table(table, ann.network.plan(shape, classes))?;
        Ok::<_, RecipeError>(plan)
    };
    let teacher = plan("teacher.network", &recipe.teacher)?;
    check.table("teacher.train", recipe.teacher.train.validate())?;
    let student = plan("intermediate.network", &recipe.intermediate)?;
    check.table("intermediate.network", recipe.intermediate.network.check_spiking())?;
    check.table("intermediate.train", recipe.intermediate.train.validate())?;
    check.table("spiking.neuron", recipe.spiking.neuron.check())?;
    check.rule(rules::check(recipe))?;
    check.table("conversion", recipe.conversion.check())?;
    check.value("student.time_steps", recipe.student.time_steps, 1, "")?;
    if let Some(limit) = recipe.student.train_limit {
        check.value("student.train_limit", limit, 1, "")?;
    }
    check.table("student.train", recipe.student.train.validate())?;
    let subjects = (Subject::spiking(&student), Some(Subject::ordinary(&teacher)));
    let losses = lasnn_distillation::check(&recipe.student.losses, subjects.0, subjects.1);
    check.table("student", losses)?;
    check.rule(rules::check_control(recipe, subjects.0))?;
    check.value("evaluation.batch", recipe.evaluation.batch, 1, "")?;
    for &steps in &recipe.evaluation.time_steps {
        check.value("evaluation.time_steps", steps, 1, "each")?;
    }
    check.rule(rules::check_counts(recipe, &teacher, counts))?;
    Ok(Plans { teacher, student })
}

/// Turns what is wrong into an error of the recipe.
struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    fn table<T, E>(&self, table: &'static str, result: Result<T, E>) -> Result<T, RecipeError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let at = self.file.into();
        result.map_err(|source| RecipeError::Table { at, table, source: source.into() })
    }

    fn value(
        &self,
        key: &'static str,
        found: usize,
        least: usize,
        why: &str,
    ) -> Result<(), RecipeError> {
        if found >= least {
            return Ok(());
        }
        let at = self.file.into();
        let expected = format!("at least {least} {why}").trim_end().to_owned();
        let key = key.to_owned();
        Err(RecipeError::Value { at, key, found: found.to_string(), expected })
    }

    fn rule(&self, result: Result<(), Contradiction>) -> Result<(), RecipeError> {
        result.map_err(|Contradiction { key, found, expected }| RecipeError::Value {
            at: self.file.into(),
            key,
            found,
            expected,
        })
    }
}
