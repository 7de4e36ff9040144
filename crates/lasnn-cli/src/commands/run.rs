//! `run`, `train`, `convert` and `distill`: run stages of a recipe in a folder of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lasnn_training::TrainError;
use serde::Serialize;
use serde_json::json;

use super::runs::recipe_differences;
use crate::args::{Global, Run};
use crate::device::{Job, TrainingBackend};
use crate::escape::shell_quoted;
use crate::failure::{Stopped, invalid_input};
use crate::memory::{self, Memory};
use crate::metrics::Metrics;
use crate::pipeline::{self, Goal, Session};
use crate::progress::Progress;
use crate::recipe::{self, Graph, Plans, Recipe};
use crate::run_dir::RunDir;
use crate::signals::Interrupted;
use crate::splits::Splits;
use crate::stage::StageName;
use crate::stage_artifact::{Conversion, FORMAT};
use crate::summary::{Git, Stages as StageSummaries, Summary, Versions};
use crate::supplied::{self, SuppliedCheckpoint};
use crate::{artifact_cache, log, output, tables};

/// The stages to run.
pub struct Stages<'a> {
    /// The last stage to run.
    pub goal: Goal,
    /// The recipe and how it is run.
    pub run: Run,
    /// Checkpoints in place of ANNs, by the stages that would train these.
    pub supplied: Vec<(StageName, PathBuf)>,
    /// The global options.
    pub global: &'a Global,
}

/// The result as JSON: the summary, and after `convert` the report of the conversion.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion: Option<&'a Conversion>,
}

impl Job for Stages<'_> {
    /// Runs the stages and prints a report.
    ///
    /// # Errors
    ///
    /// Fails if the recipe is wrong, if the data set is missing, if the memory does not suffice, if
    /// a stage fails, or if a signal comes.
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()> {
        let begun = Instant::now();
        let Self { goal, run, global, .. } = self;
        let file = recipe::find(&run.recipe)?;
        let (recipe, origins) = recipe::read(&file, run.set_options.changes(global))?;
        // The commit is read now, because the source tree may change while the program runs.
        let git = Git::of(file.parent().unwrap_or(Path::new(".")));
        let graph = Graph::new(&recipe).map_err(invalid_input)?;
        let stages = goal.stages(&graph).map_err(invalid_input)?;
        let mut supplied = BTreeMap::new();
        for (stage, path) in &self.supplied {
            if !stages.iter().any(|node| node.name() == stage) {
                return Err(invalid_input(format_args!(
                    "--{stage} is of no use: the student of this recipe does not need the stage \
                     `{stage}`"
                )));
            }
            supplied.insert(stage.clone(), SuppliedCheckpoint::read(path, &file, stage)?);
        }
        let mut splits = Splits::load_or_fetch(&recipe, &origins, &run.fetch_options, global)?;
        let images = &splits.dataset;
        let count = splits.train_images();
        let plans = recipe::validate(&recipe, &file, images.shape, images.classes, count);
        let plans = origins.locate(plans)?;
        let names: Vec<StageName> = supplied.keys().cloned().collect();
        let command = memory::Command::Stages { stages: &stages, supplied: &names };
        let memory = Memory::of(command, (&recipe, &plans), &splits, global);
        if !run.ignore_memory {
            memory.check()?;
        }
        for (stage, supplied) in &supplied {
            let network = recipe.network_of(stage)?;
            supplied.check::<A>(&network, &recipe, &plans, &splits, device)?;
        }
        supplied::normalise_as(&mut splits, supplied.values())?;
        let images = &splits.dataset;

        let hash = artifact_cache::hash(&json!({
            "format": FORMAT,
            "command": goal.command(),
            "recipe": recipe,
            "backend": global.backend.name(),
            "dataset": images.sha256,
            "teacher": supplied.get(&StageName::TEACHER).map(|supplied| &supplied.sha256),
            "intermediate":
                supplied.get(&StageName::INTERMEDIATE).map(|supplied| &supplied.sha256),
        }))?;
        let progress = Progress::new(global.quiet);
        let notes = recipe::notes(&recipe, &graph, &plans, images, &splits.split, global.backend);
        notes.iter().for_each(|note| progress.say(format!("note: {note}")));
        let folder = self.folder(&recipe, &hash, &progress)?;
        log::open(&folder.log())?;
        folder.write("recipe.toml", &toml::to_string_pretty(&recipe)?)?;
        notes.iter().for_each(|note| tracing::info!("note: {note}"));
        tracing::info!(
            command = goal.command(),
            recipe = recipe.name,
            seed = recipe.seed.0,
            backend = global.backend.name(),
            threads = global.threads(),
            "begins"
        );
        memory.log();

        let mut session = Session {
            recipe: &recipe,
            plans: &plans,
            splits: &splits,
            backend: global.backend.name(),
            runs: &global.runs_dir,
            run: &folder,
            reuse: !run.no_cache,
            supplied,
            progress: &progress,
            stages: StageSummaries::default(),
            metrics: Metrics::default(),
            conversion: None,
        };
        pipeline::run::<A>(&mut session, &stages, device).map_err(add_resume_command)?;
        session.metrics.write(&folder)?;

        let Session { stages, conversion, .. } = session;
        let conversion = conversion.filter(|_| *goal == Goal::Convert);
        let summary = Summary {
            recipe: recipe.name.clone(),
            seed: recipe.seed.0,
            backend: global.backend.name(),
            threads: global.threads(),
            versions: Versions::here(),
            git,
            dataset: splits.summary(),
            stages,
        };
        folder.finish(&serde_json::to_string_pretty(&summary)?)?;
        tracing::info!(seconds = begun.elapsed().as_secs_f64(), "ended");
        let json = Json { summary: &summary, conversion: conversion.as_ref() };
        output::print(global, &json, || {
            text(&summary, conversion.as_ref(), (&graph, &plans), &folder, begun)
        })
    }
}

impl Stages<'_> {
    /// The folder of the run: a new one, or that of the run to continue.
    fn folder(&self, recipe: &Recipe, hash: &str, progress: &Progress) -> anyhow::Result<RunDir> {
        let (runs, name) = (&self.global.runs_dir, &recipe.name);
        let folder = match &self.run.resume {
            None => RunDir::create(runs, name, hash)?,
            Some(Some(path)) => {
                RunDir::open(path, hash).map_err(|error| add_differences(error, path, recipe))?
            }
            Some(None) => match RunDir::newest_unfinished(runs, name, hash)? {
                Some(folder) => folder,
                None => {
                    progress.say("there is no unfinished run; a new run begins");
                    RunDir::create(runs, name, hash)?
                }
            },
        };
        let verb = if folder.resumed { "continues in" } else { "runs in" };
        progress.say(format!("{name} {verb} {}", folder.path().display()));
        Ok(folder)
    }
}

/// Adds the differences between the two recipes to the error of a run that cannot be continued.
fn add_differences(error: anyhow::Error, run: &Path, recipe: &Recipe) -> anyhow::Error {
    match recipe_differences(run, recipe) {
        Some(differences) if !differences.is_empty() => invalid_input(format_args!(
            "{error}\n  {}\nuse the recipe of that run, {}, or leave --resume out to begin a new \
             run",
            differences.join("\n  "),
            run.join("recipe.toml").display()
        )),
        _ => error,
    }
}

/// Turns an interruption into an error with the command that continues the run. Other errors are
/// unchanged.
fn add_resume_command(error: anyhow::Error) -> anyhow::Error {
    let training = matches!(error.downcast_ref(), Some(TrainError::Interrupted { .. }));
    if !training && error.downcast_ref::<Interrupted>().is_none() {
        return error;
    }
    let mut words = without_mirror(std::env::args().map(|word| shell_quoted(&word)));
    if !words.iter().any(|word| word.starts_with("--resume")) {
        words.push("--resume".into());
    }
    Stopped { resume: words.join(" ") }.into()
}

/// The words of a command without the address of a mirror, which may contain a password. The
/// resumed run does not need it, because the data set has been fetched.
fn without_mirror(mut words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--mirror" {
            words.next();
        } else if !word.trim_start_matches('\'').starts_with("--mirror=") {
            kept.push(word);
        }
    }
    kept
}

fn text(
    summary: &Summary,
    conversion: Option<&Conversion>,
    (graph, plans): (&Graph<'_>, &Plans),
    folder: &RunDir,
    begun: Instant,
) -> String {
    let mut text = String::new();
    if let Some(conversion) = conversion {
        text.push_str(&tables::conversion(conversion));
        text.push('\n');
    }
    text.push_str(&tables::stages(&summary.stages, graph, plans));
    text.push_str(&tables::over_time(&summary.stages, graph));
    let seconds = begun.elapsed().as_secs_f64();
    text.push_str(&format!("\n{seconds:.1} s; results in {}", folder.path().display()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_not_part_of_the_resume_command() {
        let kept =
            |words: &[&str]| without_mirror(words.iter().map(|word| shell_quoted(word))).join(" ");
        let mirror = "https://me:pass word@a/";
        assert_eq!(kept(&["run", "--fetch", "--mirror", mirror, "a.toml"]), "run --fetch a.toml");
        let joined = format!("--mirror={mirror}");
        assert_eq!(kept(&["run", &joined, "a.toml", "--fetch"]), "run a.toml --fetch");
    }

    #[test]
    fn only_interruptions_get_a_resume_command() {
        let interrupted = add_resume_command(Interrupted.into());
        assert!(interrupted.to_string().ends_with("--resume`"), "{interrupted}");
        let other = add_resume_command(anyhow::anyhow!("disk full"));
        assert_eq!(other.to_string(), "disk full");
    }
}
