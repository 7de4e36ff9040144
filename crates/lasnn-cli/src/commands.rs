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
use std::path::PathBuf;

use anyhow::Context;

use crate::args::{Args, Command, Convert, Distill, Global, Run, Train};
use crate::device::{self, Job};
use crate::pipeline::Goal;
use crate::stage::StageName;
use crate::{complete, signals};

/// Executes the command of a command line.
///
/// # Errors
///
/// Each command documents its own.
pub fn execute(args: Args) -> anyhow::Result<()> {
    let Args { global, command } = args;
    let stages = |goal, run: Run, supplied: Vec<(StageName, Option<PathBuf>)>| {
        let supplied = supplied.into_iter().filter_map(|(stage, path)| Some((stage, path?)));
        let supplied = supplied.collect();
        compute(&global, &run::Stages { goal, run, supplied, global: &global })
    };
    match command {
        Command::Run(run) => stages(Goal::Run, run, Vec::new()),
        Command::Train(Train { network, run }) => stages(Goal::Train(network), run, Vec::new()),
        Command::Convert(Convert { run, intermediate }) => {
            stages(Goal::Convert, run, vec![(StageName::INTERMEDIATE, intermediate)])
        }
        Command::Distill(Distill { run, teacher, intermediate }) => {
            let supplied =
                vec![(StageName::TEACHER, teacher), (StageName::INTERMEDIATE, intermediate)];
            stages(Goal::Distill, run, supplied)
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
