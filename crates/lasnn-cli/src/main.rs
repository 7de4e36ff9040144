//! The program `lasnn`: it turns a recipe into a distilled spiking network and a report.
//!
//! `args` is the command line as typed, `commands` has one module per command, `recipe` reads and
//! checks recipes, and `pipeline` runs their stages. This crate alone touches the terminal, the
//! environment, the clock and the folder of runs. Exit codes: 0 done, 1 the run failed, 2 the
//! command or the recipe is wrong.

// Printing results is the job of this program; libraries never print.
#![allow(clippy::print_stdout)]

#[cfg(not(target_env = "msvc"))]
mod allocator;
mod args;
mod artifact_cache;
mod backend;
mod clock;
mod commands;
mod complete;
mod dataset_request;
mod definition;
mod definition_check;
mod device;
mod escape;
mod failure;
mod fetch;
mod log;
mod memory;
mod metrics;
mod older_definition;
mod output;
mod pipeline;
mod program;
mod progress;
mod recipe;
mod run_dir;
mod runs;
mod signals;
mod splits;
mod stage;
mod stage_artifact;
mod summary;
mod supplied;
mod tables;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    complete::answer(args::Args::command);
    let args = args::Args::parse_from(args::with_resume(std::env::args_os()));
    match set_up(&args).and_then(|()| commands::execute(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::debug!("{error:#}");
            eprintln!("{}", failure::describe(&error));
            failure::exit_code(&error)
        }
    }
}

/// Starts the log and the threads that compute.
fn set_up(args: &args::Args) -> anyhow::Result<()> {
    log::start(args.global.verbose, args.global.quiet)?;
    // The main thread belongs to the pool. Otherwise it would sleep during each kernel and would
    // have to be woken afterwards.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.global.threads())
        .use_current_thread()
        .build_global()
        .context("cannot start the threads that compute")
}
