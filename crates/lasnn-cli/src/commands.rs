//! The commands.

mod annotate;
mod check_backend;
mod data;
mod eval;
mod inspect;
mod run;
mod runs;

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use crate::args::{Args, Command, Global, Run};
use crate::device::{self, TrainingBackend};
use crate::pipeline::Goal;
use crate::{complete, recipe, signals};

/// A command that computes, and what it needs to know.
pub enum Job {
    /// Stages of a recipe.
    Stages(Box<run::Request>),
    /// Measure a network.
    Evaluate(Box<eval::Request>),
    /// Write into a checkpoint what its tensors are for.
    Annotate(Box<annotate::Request>),
    /// Compare kernels with their reference.
    CheckBackend(Global),
}

/// Does what the command line asks for.
///
/// # Errors
///
/// Fails as the command does.
pub fn execute(args: Args) -> anyhow::Result<()> {
    let global = args.global;
    let stages = |goal, mut run: Run, teacher, intermediate| {
        run.recipe = recipe::find(&run.recipe)?;
        let backend = global.backend;
        let global = global.clone();
        let request = run::Request { goal, run, teacher, intermediate, global };
        device::dispatch(backend, Job::Stages(Box::new(request)))
    };
    match args.command {
        Command::Run(run) => stages(Goal::Run, run, None, None),
        Command::Train { network, run } => stages(Goal::Train(network), run, None, None),
        Command::Convert { run, intermediate } => stages(Goal::Convert, run, None, intermediate),
        Command::Distill { run, teacher, intermediate } => {
            stages(Goal::Distill, run, teacher, intermediate)
        }
        Command::Eval {
            recipe,
            checkpoint,
            stage,
            time_steps,
            normalisation,
            ignore_memory,
            missing,
        } => {
            let backend = global.backend;
            let recipe = recipe::find(&recipe)?;
            let request = eval::Request {
                recipe,
                checkpoint,
                stage,
                time_steps,
                normalisation,
                ignore_memory,
                missing,
                global,
            };
            device::dispatch(backend, Job::Evaluate(Box::new(request)))
        }
        Command::Annotate { checkpoint, recipe, stage, out, missing } => {
            let backend = global.backend;
            let recipe = recipe::find(&recipe)?;
            let request = annotate::Request { checkpoint, recipe, stage, out, missing, global };
            device::dispatch(backend, Job::Annotate(Box::new(request)))
        }
        Command::CheckBackend => device::dispatch(global.backend, Job::CheckBackend(global)),
        Command::Inspect { target, image, classes } => {
            inspect::inspect(&target, image, classes, &global)
        }
        Command::Data { action } => {
            signals::listen()?;
            data::data(&action, &global)
        }
        Command::Runs(request) => runs::runs(&request, &global),
        Command::Completions { shell } => {
            let script = complete::script(shell)?;
            std::io::stdout().write_all(&script).context("cannot write the completions")
        }
    }
}

/// Does a job on a backend: the one function that is compiled for each of them.
///
/// # Errors
///
/// Fails as the job does.
pub fn compute<A: TrainingBackend>(job: Job, device: &A::Device) -> anyhow::Result<()> {
    signals::listen()?;
    device::probe::<A>(device)?;
    match job {
        Job::Stages(request) => run::run::<A>(&request, device),
        Job::Evaluate(request) => eval::evaluate::<A>(&request, device),
        Job::Annotate(request) => annotate::annotate::<A>(&request, device),
        Job::CheckBackend(global) => check_backend::check::<A>(&global, device),
    }
}

/// Shows a result: as JSON if asked for, else as `text`, and not at all if asked to be quiet.
fn show(
    global: &Global,
    json: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let shown = match (global.json, global.quiet) {
        (true, _) => serde_json::to_string_pretty(json)?,
        (false, true) => return Ok(()),
        (false, false) => text(),
    };
    // A reader who has seen enough closes the pipe, which is no failure of ours.
    match writeln!(std::io::stdout(), "{shown}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the result")
        }
        _ => Ok(()),
    }
}
