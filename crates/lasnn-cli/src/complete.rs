//! Shell completion.
//!
//! The scripts of `lasnn completions` contain no lists. They start this program with the words
//! typed so far and with the environment variable [`VARIABLE`], and the program prints the possible
//! next words. So a shell also completes the recipes and the runs of the current folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use lasnn_datasets::Source;
use lasnn_models::zoo;

use crate::escape::shell_quoted;
use crate::stage::StageName;
use crate::{recipe, runs};

/// The environment variable that a script sets. It contains the name of the shell.
const VARIABLE: &str = "LASNN_COMPLETE";

/// The folder where runs are searched. The value of `--runs-dir` is not available here.
const RUNS: &str = "runs";

/// If a completion script has started the program, prints the completions of `command` and ends the
/// program. Otherwise does nothing.
pub fn answer(command: impl Fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).bin("lasnn").complete();
}

/// The completion script of a shell.
///
/// # Errors
///
/// Fails if the shell is not supported.
pub fn script(shell: Shell) -> anyhow::Result<Vec<u8>> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let known =
        shells.completer(&name).with_context(|| format!("the shell `{name}` is not supported"))?;
    let mut script = Vec::new();
    known
        .write_registration(VARIABLE, "lasnn", "lasnn", &program(), &mut script)
        .context("cannot write the completions")?;
    Ok(script)
}

/// The path by which a script starts this program. If the program was started by a path, this is
/// its absolute path, else its name. A path that needs quotes is not possible in the bash script.
fn program() -> String {
    let typed = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let path = match (typed.components().count(), std::env::current_dir()) {
        (2.., Ok(folder)) => folder.join(typed).to_string_lossy().into_owned(),
        _ => "lasnn".to_owned(),
    };
    if shell_quoted(&path) == path { path } else { "lasnn".to_owned() }
}

/// Completes recipes: names in `configs`, and files.
pub fn recipes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = names_with_prefix(recipe::names(), typed, "a recipe in configs");
    found.extend(files(typed, "toml"));
    found
}

/// Completes data sets and recipes.
pub fn data_targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    // Folders and synthetic images are defined in a recipe.
    let named = |source: &Source| !matches!(source, Source::Folder | Source::Synthetic);
    let names = Source::ALL.into_iter().filter(named).map(|source| source.name().to_owned());
    let mut found = names_with_prefix(names, typed, "a data set");
    found.extend(recipes(typed));
    found
}

/// Completes the keys of a recipe.
pub fn recipe_keys(typed: &OsStr) -> Vec<CompletionCandidate> {
    let keys = recipe::keys().into_iter().map(|key| format!("{key}="));
    names_with_prefix(keys, typed, "a key of a recipe")
}

/// Completes networks, recipes and checkpoints.
pub fn inspect_targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = zoo::NAMES.iter().map(|name| (*name).to_owned());
    let mut found = names_with_prefix(names, typed, "a network");
    found.extend(recipes(typed));
    // The folders are already in the list, from the recipes.
    let checkpoints = files(typed, "safetensors");
    found.extend(checkpoints.into_iter().filter(|file| !is_folder(file)));
    found
}

/// Completes the stages that every recipe may have.
pub fn stages(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = StageName::STANDARD.map(|name| name.to_string());
    names_with_prefix(names, typed, "a stage")
}

/// Completes the stages that every recipe may have and that are trained.
pub fn trained_stages(typed: &OsStr) -> Vec<CompletionCandidate> {
    let all = stages(typed).into_iter();
    all.filter(|name| name.get_value() != StageName::CONVERTED.as_str()).collect()
}

/// Completes the names of recipes that have runs.
pub fn recipes_with_runs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = runs::all(Path::new(RUNS)).unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().map(|run| run.recipe).collect();
    names.sort();
    names.dedup();
    names_with_prefix(names, typed, "a recipe with runs")
}

/// Completes runs, from the newest to the oldest.
pub fn runs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let runs = runs::all(Path::new(RUNS)).unwrap_or_default();
    let names = runs.into_iter().map(|run| format!("{}/{}", run.recipe, run.id));
    names_with_prefix(names, typed, "a run")
}

/// The names that begin with the typed text. The shell shows `kind` next to each name.
fn names_with_prefix(
    names: impl IntoIterator<Item = String>,
    typed: &OsStr,
    kind: &'static str,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = names.into_iter().filter(|name| name.starts_with(&*typed));
    fitting.map(|name| CompletionCandidate::new(name).help(Some(kind.into()))).collect()
}

/// The files with an extension whose paths begin with the typed text, and all folders that do.
fn files(typed: &OsStr, extension: &'static str) -> Vec<CompletionCandidate> {
    let wanted = move |path: &Path| {
        path.extension().is_some_and(|found| found == extension) && !path.is_dir()
    };
    PathCompleter::any().filter(wanted).complete(typed)
}

/// Whether a candidate is a folder.
fn is_folder(candidate: &CompletionCandidate) -> bool {
    candidate.get_value().to_string_lossy().ends_with(std::path::MAIN_SEPARATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(candidates: &[CompletionCandidate]) -> Vec<String> {
        candidates.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn data_sets_and_networks_are_completed_by_name() {
        assert_eq!(values(&data_targets("ci".as_ref())), ["cifar10", "cifar100"]);
        let networks = values(&inspect_targets("vgg".as_ref()));
        assert_eq!(networks, ["vgg5", "vgg7", "vgg9", "vgg16"]);
    }

    #[test]
    fn keys_of_recipes_are_completed() {
        let keys = values(&recipe_keys("student.train.ep".as_ref()));
        assert_eq!(keys, ["student.train.epochs="]);
    }

    #[test]
    fn the_script_of_every_shell_calls_this_program() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE) && script.contains("lasnn"), "{shell}: {script}");
        }
    }
}
