//! `run`, `train`, `convert` and `distill`: stages of a recipe in a folder of their own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lasnn_training::TrainError;
use serde::Serialize;
use serde_json::json;

use super::runs;
use crate::args::{Global, Run};
use crate::cache;
use crate::data::Data;
use crate::device::{Job, TrainingBackend};
use crate::failure::{Stopped, quoted, wrong};
use crate::given::{self, Given};
use crate::memory::{self, Memory};
use crate::metrics::Metrics;
use crate::output;
use crate::pipeline::{self, Goal, Session};
use crate::progress::Progress;
use crate::recipe::{self, Plans, Recipe};
use crate::run_dir::RunDir;
use crate::signals::Interrupted;
use crate::stage::StageName;
use crate::stored::{Conversion, FORMAT};
use crate::summary::{Git, Stages, Summary, Versions};
use crate::{log, report};

/// What to run.
pub struct Request {
    /// How far.
    pub goal: Goal,
    /// The recipe and how to run it.
    pub run: Run,
    /// A checkpoint in place of the teacher.
    pub teacher: Option<PathBuf>,
    /// A checkpoint in place of the intermediate network.
    pub intermediate: Option<PathBuf>,
    /// What every command takes.
    pub global: Global,
}

impl Job for Request {
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()> {
        run::<A>(self, device)
    }
}

/// The result as JSON: the summary, and the table of a conversion where that was asked for.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion: Option<&'a Conversion>,
}

/// Runs the stages and reports.
///
/// # Errors
///
/// Fails if the recipe is wrong, the data are not there, a stage fails or a signal comes.
fn run<A: TrainingBackend>(request: &Request, device: &A::Device) -> anyhow::Result<()> {
    let begun = Instant::now();
    let Request { goal, run: Run { recipe: file, .. }, global, .. } = request;
    let recipe = recipe::read(file, global.seed)?;
    // Now, as the tree may be another one when the run ends.
    let git = Git::of(file.parent().unwrap_or(Path::new(".")));
    let given = |path: &Option<PathBuf>, stage| {
        path.as_deref().map(|path| Given::new(path, file, stage)).transpose()
    };
    let teacher = given(&request.teacher, StageName::Teacher)?;
    let intermediate = given(&request.intermediate, StageName::Intermediate)?;
    let mut data = Data::load_or_fetch(&recipe, file, &request.run.missing, global)?;
    let images = &data.dataset;
    let plans = recipe::validate(&recipe, file, images.shape, images.classes, data.counts())?;
    let command = memory::Command::Stages {
        goal: *goal,
        teacher: teacher.is_some(),
        intermediate: intermediate.is_some(),
    };
    let memory = Memory::of(command, (&recipe, &plans), &data, global);
    if !request.run.ignore_memory {
        memory.check()?;
    }
    for (given, stage) in [(&teacher, StageName::Teacher), (&intermediate, StageName::Intermediate)]
    {
        if let Some(given) = given {
            given.check::<A>(stage, &recipe, &plans, &data, device)?;
        }
    }
    given::normalise_as(&mut data, teacher.iter().chain(&intermediate))?;
    let images = &data.dataset;

    let hash = cache::hash(&json!({
        "format": FORMAT,
        "command": goal.command(),
        "recipe": recipe,
        "backend": global.backend.name(),
        "dataset": images.sha256,
        "teacher": teacher.as_ref().map(|given| &given.sha256),
        "intermediate": intermediate.as_ref().map(|given| &given.sha256),
    }))?;
    let progress = Progress::new(global.quiet);
    let notes = recipe::notes(&recipe, &plans, images, &data.split, data.counts(), global.backend);
    notes.iter().for_each(|note| progress.say(format!("note: {note}")));
    let folder = folder(request, &recipe, &hash, &progress)?;
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
        data: &data,
        backend: global.backend.name(),
        runs: &global.runs_dir,
        run: &folder,
        reuse: !request.run.no_cache,
        teacher,
        intermediate,
        progress: &progress,
        stages: Stages::default(),
        metrics: Metrics::default(),
        conversion: None,
    };
    pipeline::run::<A>(&mut session, *goal, device).map_err(tell_how_to_resume)?;
    session.metrics.write(&folder)?;

    let Session { stages, conversion, .. } = session;
    let conversion = conversion.filter(|_| *goal == Goal::Convert);
    let summary = Summary {
        recipe: recipe.name.clone(),
        seed: recipe.seed.0,
        backend: global.backend.name(),
        threads: global.threads(),
        versions: Versions::HERE,
        git,
        dataset: data.summary(),
        stages,
    };
    folder.finish(&serde_json::to_string_pretty(&summary)?)?;
    tracing::info!(seconds = begun.elapsed().as_secs_f64(), "ended");
    let json = Json { summary: &summary, conversion: conversion.as_ref() };
    output::print(global, &json, || text(&summary, conversion.as_ref(), &plans, &folder, begun))
}

/// The folder of the run: a new one, or that of the run to go on with.
fn folder(
    request: &Request,
    recipe: &Recipe,
    hash: &str,
    progress: &Progress,
) -> anyhow::Result<RunDir> {
    let (runs, name) = (&request.global.runs_dir, &recipe.name);
    let folder = match &request.run.resume {
        None => RunDir::create(runs, name, hash)?,
        Some(Some(path)) => {
            RunDir::open(path, hash).map_err(|error| explain(error, path, recipe))?
        }
        Some(None) => match RunDir::newest_unfinished(runs, name, hash)? {
            Some(folder) => folder,
            None => {
                progress.say("no unfinished run to resume; a new one begins");
                RunDir::create(runs, name, hash)?
            }
        },
    };
    let verb = if folder.resumed { "goes on in" } else { "runs in" };
    progress.say(format!("{name} {verb} {}", folder.path().display()));
    Ok(folder)
}

/// Adds to the error of a run that is not gone on with in what its recipe differs.
fn explain(error: anyhow::Error, run: &Path, recipe: &Recipe) -> anyhow::Error {
    match runs::from_recipe(run, recipe) {
        Some(differences) if !differences.is_empty() => wrong(format_args!(
            "{error}\n  {}\nrun its own recipe, {}, or leave --resume out to begin a new run",
            differences.join("\n  "),
            run.join("recipe.toml").display()
        )),
        _ => error,
    }
}

/// The words of a command without the mirror, in which there may be a password. The data set is here
/// once something was trained on it.
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

/// An interruption becomes a message that says how to go on; every other error stays.
fn tell_how_to_resume(error: anyhow::Error) -> anyhow::Error {
    let training = matches!(error.downcast_ref(), Some(TrainError::Interrupted { .. }));
    if !training && error.downcast_ref::<Interrupted>().is_none() {
        return error;
    }
    let mut words = without_mirror(std::env::args().map(|word| quoted(&word)));
    if !words.iter().any(|word| word.starts_with("--resume")) {
        words.push("--resume".into());
    }
    Stopped { resume: words.join(" ") }.into()
}

fn text(
    summary: &Summary,
    conversion: Option<&Conversion>,
    plans: &Plans,
    folder: &RunDir,
    begun: Instant,
) -> String {
    let mut text = String::new();
    if let Some(conversion) = conversion {
        text.push_str(&report::conversion(conversion));
        text.push('\n');
    }
    text.push_str(&report::stages(&summary.stages, plans));
    text.push_str(&report::over_time(&summary.stages));
    let seconds = begun.elapsed().as_secs_f64();
    text.push_str(&format!("\n{seconds:.1} s; results in {}", folder.path().display()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_not_repeated() {
        let kept = |words: &[&str]| without_mirror(words.iter().map(|word| quoted(word))).join(" ");
        let mirror = "https://me:pass word@a/";
        assert_eq!(kept(&["run", "--fetch", "--mirror", mirror, "a.toml"]), "run --fetch a.toml");
        let joined = format!("--mirror={mirror}");
        assert_eq!(kept(&["run", &joined, "a.toml", "--fetch"]), "run a.toml --fetch");
    }

    #[test]
    fn only_interruptions_become_advice() {
        let advice = tell_how_to_resume(Interrupted.into());
        assert!(advice.to_string().ends_with("--resume`"), "{advice}");
        let other = tell_how_to_resume(anyhow::anyhow!("disk full"));
        assert_eq!(other.to_string(), "disk full");
    }
}
