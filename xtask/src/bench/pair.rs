//! `cargo xtask bench pair`: what more trained parameters cost in a training step.
//!
//! One process runs a step of the plain network and one of the extended network in turns, so that
//! a change of the machine's speed meets both.

use anyhow::Context;
use serde::Deserialize;

use super::statistics::{median, ratios};
use crate::workspace::Workspace;

/// The networks of the paper that a training step is measured with.
const NETS: [&str; 2] = ["vgg5", "resnet12"];

/// The parameters that the second network trains beside the weights.
const EXTRAS: [&str; 4] = ["biases", "thresholds", "leaks", "initial-membranes"];

#[derive(clap::Args)]
pub struct PairArguments {
    /// The number of pairs of each comparison
    #[arg(long, default_value_t = 40)]
    pairs: usize,
    /// A network by its name, in place of vgg5 and resnet12; may be repeated
    #[arg(long)]
    net: Vec<String>,
    /// The number format of a training step
    #[arg(long, default_value = "bf16", value_parser = ["f32", "bf16"])]
    precision: String,
}

#[derive(Deserialize)]
struct Times {
    plain_seconds: Vec<f64>,
    extended_seconds: Vec<f64>,
}

/// Measures all comparisons and prints a table.
///
/// # Errors
///
/// If the program of the steps fails.
#[allow(clippy::print_stdout, reason = "the table is what the command is for")]
pub fn pair(workspace: &Workspace, arguments: &PairArguments) -> anyhow::Result<()> {
    let nets: Vec<&str> = match &arguments.net[..] {
        [] => NETS.to_vec(),
        nets => nets.iter().map(String::as_str).collect(),
    };
    println!("| network | with | plain | extended | ratio of a pair: median, min, max |");
    println!("|---|---|---|---|---|");
    for net in nets {
        for with in EXTRAS {
            let mut command = workspace.cargo("run");
            command.args(["--quiet", "--release", "--locked", "--package", "lasnn-benches"]);
            command.args(["--bin", "snn-step", "--", "pair", "--net", net, "--with", with]);
            command.args(["--pairs", &arguments.pairs.to_string()]);
            command.args(["--precision", &arguments.precision]);
            let output = command.stderr(std::process::Stdio::inherit()).output()?;
            anyhow::ensure!(output.status.success(), "snn-step failed: {}", output.status);
            let times: Times =
                serde_json::from_slice(&output.stdout).context("the output of snn-step")?;
            let found = ratios(&times.plain_seconds, &times.extended_seconds);
            println!(
                "| {net} | {with} | {:.1} ms | {:.1} ms | {:.3}, {:.3}, {:.3} |",
                1e3 * median(&times.plain_seconds),
                1e3 * median(&times.extended_seconds),
                found.median,
                found.min,
                found.max
            );
        }
    }
    Ok(())
}
