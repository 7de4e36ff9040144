//! `cargo xtask <command>`: the tasks of this repository.
//!
//! The task runner starts `cargo` and the `lasnn` binary. It links neither Burn nor any lasnn
//! crate, so that it builds within seconds on a new machine.

mod bench;
mod gpu_check;
mod lint;
mod markdown;
mod results;
mod run;
mod style;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::{StepFailed, Workspace};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Tasks of the lasnn workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build `lasnn` in release mode and run a recipe
    Run(run::RunArguments),
    /// Run all tests of the workspace
    Test(test::TestArguments),
    /// Check style, results, formatting, lints, documentation and the GPU features
    Lint,
    /// Check only the rules for lines, words, links and crates, which takes no build
    Style,
    /// Run the benchmarks
    Bench(bench::BenchArguments),
    /// Write `results/README.md`, the index of the folders under `results/`
    Results(results::ResultsArguments),
    /// Pack a folder with which a machine with an NVIDIA GPU can check the CUDA backend
    GpuCheck(gpu_check::GpuCheckArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let workspace = Workspace::locate();
    let outcome = match arguments.command {
        Command::Run(arguments) => run::run(&workspace, &arguments),
        Command::Test(arguments) => test::test(&workspace, &arguments),
        Command::Lint => lint::lint(&workspace),
        Command::Style => style::style(&workspace),
        Command::Bench(arguments) => bench::bench(&workspace, &arguments),
        Command::Results(arguments) => results::results(&workspace, &arguments),
        Command::GpuCheck(arguments) => gpu_check::gpu_check(&workspace, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // The caller gets the exit code of the program that failed, since `lasnn` distinguishes
            // a failed run (1) from a wrong command or recipe (2).
            error.downcast_ref::<StepFailed>().map_or(ExitCode::FAILURE, StepFailed::exit_code)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
