//! The program `lasnn`: from a recipe to a distilled spiking network and its report.
//!
//! The only crate that knows all others. Exit codes: 0 done, 1 the run failed, 2 the command or
//! the recipe is wrong.

// Showing a user something is this program's part.
#![allow(clippy::print_stdout)]

#[cfg(not(target_env = "msvc"))]
mod allocator;
mod args;
mod backend;
mod cache;
mod clock;
mod commands;
mod complete;
mod data;
mod definition;
mod device;
mod failure;
mod fetch;
mod given;
mod log;
mod memory;
mod metrics;
mod output;
mod pipeline;
mod printable;
mod progress;
mod recipe;
mod report;
mod run_dir;
mod runs;
mod signals;
mod stage;
mod stored;
mod summary;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    complete::answer(args::Args::command);
    let args = args::Args::parse_from(args::with_resume(std::env::args_os()));
    match begin(&args).and_then(|()| commands::execute(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::debug!("{error:#}");
            eprintln!("{}", failure::describe(&error));
            failure::exit_code(&error)
        }
    }
}

/// Sets up what the whole process shares.
fn begin(args: &args::Args) -> anyhow::Result<()> {
    log::start(args.global.verbose, args.global.quiet)?;
    // With this thread among them: else it would only wait for each kernel, and be woken after it.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.global.threads())
        .use_current_thread()
        .build_global()
        .context("cannot start the threads that compute")
}
