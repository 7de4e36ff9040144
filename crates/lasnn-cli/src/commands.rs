//! The commands, one module each.

mod annotate;
mod check_backend;
mod data;
mod eval;
mod inspect;
mod list;
mod run;
mod runs;

use std::io::Write;

use anyhow::Context;

use crate::args::{Args, Command, Convert, Distill, Global, Run, Train};
use crate::device::{self, Job};
use crate::pipeline::Goal;
use crate::{complete, signals};

/// Executes the command of a command line.
///
/// # Errors
///
/// Each command documents its own.
pub fn execute(args: Args) -> anyhow::Result<()> {
    let Args { global, command } = args;
    let stages = |goal, run: Run, teacher, intermediate| {
        compute(&global, &run::Stages { goal, run, teacher, intermediate, global: &global })
    };
    match command {
        Command::Run(run) => stages(Goal::Run, run, None, None),
        Command::Train(Train { network, run }) => stages(Goal::Train(network), run, None, None),
        Command::Convert(Convert { run, intermediate }) => {
            stages(Goal::Convert, run, None, intermediate)
        }
        Command::Distill(Distill { run, teacher, intermediate }) => {
            stages(Goal::Distill, run, teacher, intermediate)
        }
        Command::Eval(args) => compute(&global, &eval::Evaluate { args, global: &global }),
        Command::Annotate(args) => {
            compute(&global, &annotate::AddDefinition { args, global: &global })
        }
        Command::CheckBackend => compute(&global, &check_backend::Check { global: &global }),
        Command::Inspect(args) => inspect::inspect(&args, &global),
        Command::Data { action } => {
            signals::listen()?;
            data::data(&action, &global)
        }
        Command::List { what } => list::list(what, &global),
        Command::Runs(args) => runs::runs(&args, &global),
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
