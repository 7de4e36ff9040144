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

use crate::args::{Args, Command, Global, Run};
use crate::device::{self, Job};
use crate::pipeline::Goal;
use crate::{complete, recipe, signals};

/// Executes the command of a command line.
///
/// # Errors
///
/// Each command documents its own.
pub fn execute(args: Args) -> anyhow::Result<()> {
    let global = args.global;
    let stages = |goal, mut run: Run, teacher, intermediate| {
        run.recipe = recipe::find(&run.recipe)?;
        let global = global.clone();
        compute(&global.clone(), &run::Request { goal, run, teacher, intermediate, global })
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
            compute(&request.global, &request)
        }
        Command::Annotate { checkpoint, recipe, stage, out, missing } => {
            let recipe = recipe::find(&recipe)?;
            let request = annotate::Request { checkpoint, recipe, stage, out, missing, global };
            compute(&request.global, &request)
        }
        Command::CheckBackend => {
            compute(&global, &check_backend::Request { global: global.clone() })
        }
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

/// Does a job on the backend that the command line names.
fn compute(global: &Global, job: &impl Job) -> anyhow::Result<()> {
    signals::listen()?;
    device::dispatch(global.backend, job)
}
