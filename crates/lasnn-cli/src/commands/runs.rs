//! `runs`: the runs that there are, their results side by side, and how their recipes differ.

mod compare;
mod diff;
mod found;
mod parts;

use std::path::Path;

use comfy_table::CellAlignment;

use self::found::Found;
use self::parts::{Git, State};
use crate::args::{Global, Runs, RunsAction};
use crate::failure::wrong;
use crate::output;
use crate::printable::printable;
use crate::recipe;
use crate::report::{percent, table};
use crate::runs::{self, Place};
use crate::stage::StageName;

pub use diff::from_recipe;

/// Lists runs, or compares those that are named.
///
/// # Errors
///
/// Fails if a run or a recipe is unknown, or if a folder cannot be read.
pub fn runs(request: &Runs, global: &Global) -> anyhow::Result<()> {
    match (&request.action, &request.recipe) {
        (None, recipe) => list(recipe.as_deref(), global),
        (Some(_), Some(recipe)) => Err(wrong(format_args!(
            "`{}` is one word too many: `compare` and `diff` take their runs behind them",
            printable(recipe)
        ))),
        (Some(RunsAction::Compare { runs }), None) => compare::compare(runs, global),
        (Some(RunsAction::Diff { first, second }), None) => diff::diff(first, second, global),
    }
}

/// Lists all runs, or those of one recipe, newest first.
fn list(recipe: Option<&str>, global: &Global) -> anyhow::Result<()> {
    let folder = &global.runs_dir;
    let mut places = runs::all(folder)?;
    let mut which = String::new();
    if let Some(typed) = recipe {
        let name = recipe_name(typed, &places, folder)?;
        places.retain(|place| place.recipe == name);
        which = format!(" of {}", printable(&name));
    }
    let found: Vec<Found> = places.into_iter().map(Found::new).collect();
    output::print(global, &found, || match found.as_slice() {
        [] => format!("there are no runs{which} in {}", printable(&folder.to_string_lossy())),
        found => text(found),
    })
}

/// The name of the recipe that a user means: one that has runs, or that of a file.
fn recipe_name(typed: &str, places: &[Place], folder: &Path) -> anyhow::Result<String> {
    if places.iter().any(|place| place.recipe == typed) {
        return Ok(typed.to_owned());
    }
    if let Ok(file) = recipe::find(Path::new(typed)) {
        return Ok(recipe::read(&file, None)?.name);
    }
    let mut names: Vec<String> = places.iter().map(|place| printable(&place.recipe)).collect();
    names.sort();
    names.dedup();
    let there = match names.as_slice() {
        [] => "has no runs".to_owned(),
        names => format!("has runs of {}", names.join(", ")),
    };
    Err(wrong(format_args!(
        "no recipe `{}` has been run: the folder {} {there}",
        printable(typed),
        folder.display()
    )))
}

fn text(found: &[Found]) -> String {
    let mut table =
        table(&["recipe", "run", "began (UTC)", "state", "stages", "test accuracy", "T", "commit"]);
    for column in [1, 2, 3, 4, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    let dash = || "-".to_owned();
    for run in found {
        let last = run.stages.last();
        table.add_row([
            printable(&run.recipe),
            printable(&run.id),
            run.began.as_deref().map_or_else(dash, minute),
            run.state.text().to_owned(),
            stages(run),
            last.and_then(|stage| stage.numbers.test_accuracy).map_or_else(dash, percent),
            last.and_then(|stage| stage.numbers.time_steps)
                .map_or_else(dash, |steps| steps.to_string()),
            run.git.as_ref().and_then(Git::short).unwrap_or_else(dash),
        ]);
    }
    let mut text = table.to_string();
    for run in found {
        if let (State::Damaged, Some(problem)) = (run.state, &run.problem) {
            text.push_str(&format!("\n{}: {}", run.name, printable(problem)));
        }
    }
    text
}

/// `2026-01-02T03:04:05Z` without its seconds, which the id has.
fn minute(began: &str) -> String {
    began.get(..16).unwrap_or(began).replace('T', " ")
}

/// The stages of a run in a few words.
fn stages(run: &Found) -> String {
    const ALL: [StageName; 4] =
        [StageName::Teacher, StageName::Intermediate, StageName::Converted, StageName::Student];
    let names: Vec<StageName> = run.stages.iter().map(|stage| stage.stage).collect();
    let has_all = ALL.iter().all(|stage| names.contains(stage));
    match (has_all, names.contains(&StageName::Control)) {
        (true, false) => "all".to_owned(),
        (true, true) => "all, control".to_owned(),
        (false, _) if names.is_empty() => "none".to_owned(),
        (false, _) => names.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_without_runs_names_those_that_have_some() {
        let runs = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(runs.path().join("a/20260101-000000-aaaaaaaa")).unwrap();
        let places = runs::all(runs.path()).unwrap();
        let name = |typed: &str| recipe_name(typed, &places, runs.path());
        assert_eq!(name("a").unwrap(), "a");
        let error = name("b").unwrap_err().to_string();
        assert!(error.contains("`b`") && error.ends_with("has runs of a"), "{error}");
    }

    #[test]
    fn every_run_has_a_line_with_what_is_known() {
        let runs = tempfile::tempdir().unwrap();
        let folder = |id: &str| {
            let path = runs.path().join("a").join(id);
            std::fs::create_dir_all(&path).unwrap();
            path.join("summary.json")
        };
        std::fs::write(
            folder("20260101-000000-aaaaaaaa"),
            r#"{"git": {"commit": "0123456789abcdef", "dirty": true}, "stages": {"student":
               {"test_accuracy": 0.5, "time_steps": 4}, "teacher": {"test_accuracy": 0.75}}}"#,
        )
        .unwrap();
        std::fs::write(folder("20260102-000000-aaaaaaaa"), "{\u{1b}").unwrap();
        folder("20260103-000000-aaaaaaaa");
        let found: Vec<_> = runs::all(runs.path()).unwrap().into_iter().map(Found::new).collect();
        let text = text(&found);
        let line = |id: &str| text.lines().find(|line| line.contains(id)).unwrap();
        let whole = line("20260101");
        for part in ["2026-01-01 00:00", "ended", "teacher, student", "50.00 %", " 4 ", "01234567*"]
        {
            assert!(whole.contains(part), "{part}: {whole}");
        }
        assert!(line("20260102").contains("damaged"), "{text}");
        assert!(line("20260103").contains("cut off"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("a/20260102-000000-aaaaaaaa: "), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
