//! Inference and training steps of our spiking networks, for comparison with peers.
//!
//! `make` writes a case: one file with weights, thresholds and input that both sides read. `serve` runs
//! it, one timed step per line of its input. `cargo xtask bench peers` starts both, and the peers'
//! scripts under `benches/peers/` speak the same protocol.

// A binary: what it prints is its result.
#![allow(clippy::print_stdout)]

// Memory comes as in `lasnn` itself.
#[cfg(not(target_env = "msvc"))]
#[path = "../../../../crates/lasnn-cli/src/allocator.rs"]
mod allocator;
mod calibrate;
mod case;
mod make;
mod serve;
mod step;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Steps of spiking networks, for comparison with peers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a case and print what is in it as one line of JSON
    Make(make::MakeArguments),
    /// Run the steps that standard input asks for
    Serve(serve::ServeArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Make(arguments) => make::make(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
    }
}
