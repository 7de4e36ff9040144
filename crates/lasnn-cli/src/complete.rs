//! What a shell offers when the tabulator is pressed behind `lasnn`.
//!
//! The scripts of `lasnn completions` hold no list. They start this program with the words typed so
//! far and the variable [`VARIABLE`], and it answers with what may stand there: so the shell also
//! knows the recipes and the runs of the folder at hand.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use lasnn_datasets::Source;
use lasnn_models::zoo;

use crate::failure::quoted;
use crate::{recipe, runs};

/// The variable by which a script asks. It holds the name of the shell.
const VARIABLE: &str = "LASNN_COMPLETE";

/// The folder where runs are looked for. Another one, named by `--runs-dir`, is not known here.
const RUNS: &str = "runs";

/// Answers a shell that asks for completions of `command` and ends the program then. Does nothing
/// if no shell asks.
pub fn answer(command: impl Fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).bin("lasnn").complete();
}

/// The script that makes a shell ask.
///
/// # Errors
///
/// Fails if nothing is known of the shell.
pub fn script(shell: Shell) -> anyhow::Result<Vec<u8>> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let known = shells
        .completer(&name)
        .with_context(|| format!("no completion is known for the shell `{name}`"))?;
    let mut script = Vec::new();
    known
        .write_registration(VARIABLE, "lasnn", "lasnn", &program(), &mut script)
        .context("cannot write the completions")?;
    Ok(script)
}

/// How a script starts this program: from its place if it was started so, else from the search
/// path. Bash has no way here for a path that needs quotes.
fn program() -> String {
    let typed = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let path = match (typed.components().count(), std::env::current_dir()) {
        (2.., Ok(folder)) => folder.join(typed).to_string_lossy().into_owned(),
        _ => "lasnn".to_owned(),
    };
    if quoted(&path) == path { path } else { "lasnn".to_owned() }
}

/// Recipes: the names below `configs`, and files.
pub fn recipes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = beginning(recipe::names(), typed, "a recipe in configs");
    found.extend(files(typed, "toml"));
    found
}

/// What data can be looked at: data sets, and those of recipes.
pub fn data(typed: &OsStr) -> Vec<CompletionCandidate> {
    // The others have no name of their own: a recipe says what they are.
    let named = |source: &Source| !matches!(source, Source::Folder | Source::Synthetic);
    let names = Source::ALL.into_iter().filter(named).map(|source| source.name().to_owned());
    let mut found = beginning(names, typed, "a data set");
    found.extend(recipes(typed));
    found
}

/// What can be inspected: networks, recipes and checkpoints.
pub fn inspected(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = zoo::NAMES.iter().map(|name| (*name).to_owned());
    let mut found = beginning(names, typed, "a network");
    found.extend(recipes(typed));
    // Folders are among the recipes already.
    let checkpoints = files(typed, "safetensors");
    found.extend(checkpoints.into_iter().filter(|file| !is_folder(file)));
    found
}

/// Recipes that have been run.
pub fn runs_of(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = runs::all(Path::new(RUNS)).unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().map(|run| run.recipe).collect();
    names.sort();
    names.dedup();
    beginning(names, typed, "a recipe that has been run")
}

/// Runs, newest first.
pub fn runs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let runs = runs::all(Path::new(RUNS)).unwrap_or_default();
    let names = runs.into_iter().map(|run| format!("{}/{}", run.recipe, run.id));
    beginning(names, typed, "a run")
}

/// The names that begin with the typed text. `kind` says what they name.
fn beginning(
    names: impl IntoIterator<Item = String>,
    typed: &OsStr,
    kind: &'static str,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = names.into_iter().filter(|name| name.starts_with(&*typed));
    fitting.map(|name| CompletionCandidate::new(name).help(Some(kind.into()))).collect()
}

/// The files with the given extension whose paths begin with the typed text, and the folders that
/// lead to such files.
fn files(typed: &OsStr, extension: &'static str) -> Vec<CompletionCandidate> {
    let wanted = move |path: &Path| {
        path.extension().is_some_and(|found| found == extension) && !path.is_dir()
    };
    PathCompleter::any().filter(wanted).complete(typed)
}

/// Whether a candidate is a folder in which more may be found.
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
    fn data_sets_and_networks_are_offered_by_name() {
        assert_eq!(values(&data("ci".as_ref())), ["cifar10", "cifar100"]);
        let networks = values(&inspected("vgg".as_ref()));
        assert_eq!(networks, ["vgg5", "vgg7", "vgg9", "vgg16"]);
    }

    #[test]
    fn every_shell_has_a_script_that_asks_this_program() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE) && script.contains("lasnn"), "{shell}: {script}");
        }
    }
}
