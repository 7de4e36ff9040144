//! `runs`: lists runs, shows their results side by side, and shows how their recipes differ.

mod compare;
mod diff;
mod parts;
mod record;

use std::path::Path;

use comfy_table::CellAlignment;

use self::parts::{Git, State};
use self::record::RunRecord;
use crate::args::{Global, Runs, RunsAction};
use crate::escape::printable;
use crate::failure::invalid_input;
use crate::output;
use crate::recipe::{self, Changes};
use crate::runs::{self, RunLocation};
use crate::stage::StageName;
use crate::tables::{percent, table};

pub use diff::recipe_differences;

/// Lists runs, or compares the runs that are named.
///
/// # Errors
///
/// Fails if a run or a recipe is unknown, or if a folder cannot be read.
pub fn runs(request: &Runs, global: &Global) -> anyhow::Result<()> {
    match (&request.action, &request.recipe) {
        (None, recipe) => list(recipe.as_deref(), global),
        (Some(_), Some(recipe)) => Err(invalid_input(format_args!(
            "`{}` is one word too many: the runs follow `compare` or `diff`",
            printable(recipe)
        ))),
        (Some(RunsAction::Compare { runs }), None) => compare::compare(runs, global),
        (Some(RunsAction::Diff { first, second }), None) => diff::diff(first, second, global),
    }
}

/// Lists all runs, or the runs of one recipe, from the newest to the oldest.
fn list(recipe: Option<&str>, global: &Global) -> anyhow::Result<()> {
    let folder = &global.runs_dir;
    let mut locations = runs::all(folder)?;
    let mut which = String::new();
    if let Some(typed) = recipe {
        let name = recipe_name(typed, &locations, folder)?;
        locations.retain(|location| location.recipe == name);
        which = format!(" of {}", printable(&name));
    }
    let found: Vec<RunRecord> = locations.into_iter().map(RunRecord::new).collect();
    output::print(global, &found, || match found.as_slice() {
        [] => format!("there are no runs{which} in {}", printable(&folder.to_string_lossy())),
        found => text(found),
    })
}

/// The name of the recipe that a user means: a recipe with runs, or the name in a file.
fn recipe_name(typed: &str, locations: &[RunLocation], folder: &Path) -> anyhow::Result<String> {
    if locations.iter().any(|location| location.recipe == typed) {
        return Ok(typed.to_owned());
    }
    if let Ok(file) = recipe::find(Path::new(typed)) {
        let (recipe, _) = recipe::read(&file, Changes::default())?;
        return Ok(recipe.name);
    }
    let mut names: Vec<String> =
        locations.iter().map(|location| printable(&location.recipe)).collect();
    names.sort();
    names.dedup();
    let there = match names.as_slice() {
        [] => "has no runs".to_owned(),
        names => format!("has runs of {}", names.join(", ")),
    };
    Err(invalid_input(format_args!(
        "no recipe `{}` has been run: the folder {} {there}",
        printable(typed),
        folder.display()
    )))
}

fn text(found: &[RunRecord]) -> String {
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

/// A time such as `2026-01-02T03:04:05Z` without the seconds. The id has them.
fn minute(began: &str) -> String {
    began.get(..16).unwrap_or(began).replace('T', " ")
}

/// The finished stages of a run in a few words.
fn stages(run: &RunRecord) -> String {
    const ALL: [StageName; 4] =
        [StageName::TEACHER, StageName::INTERMEDIATE, StageName::CONVERTED, StageName::STUDENT];
    let names: Vec<&StageName> = run.stages.iter().map(|stage| &stage.stage).collect();
    let has_all = ALL.iter().all(|stage| names.contains(&stage));
    let more = names.iter().filter(|name| !has_all || !ALL.contains(name));
    let all = has_all.then(|| "all".to_owned());
    let words: Vec<String> = all.into_iter().chain(more.map(|name| name.to_string())).collect();
    match words.as_slice() {
        [] => "none".to_owned(),
        words => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_recipe_lists_the_recipes_with_runs() {
        let runs = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(runs.path().join("a/20260101-000000-aaaaaaaa")).unwrap();
        let locations = runs::all(runs.path()).unwrap();
        let name = |typed: &str| recipe_name(typed, &locations, runs.path());
        assert_eq!(name("a").unwrap(), "a");
        let error = name("b").unwrap_err().to_string();
        assert!(error.contains("`b`") && error.ends_with("has runs of a"), "{error}");
    }

    #[test]
    fn every_run_has_a_line() {
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
        let all = ["teacher", "intermediate", "conversion", "longer", "student"];
        let all = all.map(|name| format!(r#""{name}": {{"time_steps": 8}}"#)).join(",");
        let summary = format!(r#"{{"stages": {{{all}}}}}"#);
        std::fs::write(folder("20260104-000000-aaaaaaaa"), summary).unwrap();
        std::fs::write(folder("20260102-000000-aaaaaaaa"), "{\u{1b}").unwrap();
        folder("20260103-000000-aaaaaaaa");
        let found: Vec<_> =
            runs::all(runs.path()).unwrap().into_iter().map(RunRecord::new).collect();
        let text = text(&found);
        let line = |id: &str| text.lines().find(|line| line.contains(id)).unwrap();
        let whole = line("20260101");
        for part in ["2026-01-01 00:00", "ended", "teacher, student", "50.00 %", " 4 ", "01234567*"]
        {
            assert!(whole.contains(part), "{part}: {whole}");
        }
        assert!(line("20260104").contains("all, longer"), "{text}");
        assert!(line("20260102").contains("damaged"), "{text}");
        assert!(line("20260103").contains("cut off"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("a/20260102-000000-aaaaaaaa: "), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
