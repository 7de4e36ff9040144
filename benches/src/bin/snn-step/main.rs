//! Inference and training steps of our spiking networks, for a comparison with peers.
//!
//! `make` writes a case: one file with weights, thresholds and input that both sides read. `serve`
//! runs one timed step of it for each line of its standard input. `cargo xtask bench peers` starts
//! both. The scripts of the peers, under `benches/peers/`, have the same protocol. `pair` compares
//! two of our own networks, for `cargo xtask bench pair`, and `losses` one with and without a loss,
//! for `cargo xtask bench methods`.

// The output is the purpose of this program.
#![allow(clippy::print_stdout)]

// The same memory allocator as in `lasnn`.
#[cfg(not(target_env = "msvc"))]
#[path = "../../../../crates/lasnn-cli/src/allocator.rs"]
mod allocator;
mod calibrate;
mod case;
mod losses;
mod make;
mod pair;
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
    /// Write a case, and print its name, encoding and firing rates as one line of JSON
    Make(make::MakeArguments),
    /// Run one step for each line of the standard input
    Serve(serve::ServeArguments),
    /// Compare training steps with and without more trained parameters, in turns
    Pair(pair::PairArguments),
    /// Compare training steps with and without a loss, in turns
    Losses(losses::LossesArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Make(arguments) => make::make(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Pair(arguments) => pair::pair(&arguments),
        Command::Losses(arguments) => losses::losses(&arguments),
    }
}
