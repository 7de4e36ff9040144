//! `cargo xtask bench peers`: our spiking networks compared with SpikingJelly and snnTorch.
//!
//! A comparison begins with a case file that our binary writes, with weights, thresholds and
//! images. Each peer is first tried in all of its settings. Then the spikes of both sides are
//! compared. Only if they agree, both sides take turns and are timed.

mod agreement;
mod campaign;
mod matrix;
mod ordinary;
mod record;
pub mod row;
mod setup;
mod table;
pub mod target;
mod turns;
mod worker;

use std::path::PathBuf;

use self::campaign::{Campaign, Outcome};
use self::matrix::{Against, Comparison, Encoding, Mode, Weights};
use self::record::{Identity, Record};
use self::setup::{Peer, Programs};
use super::destination::DestinationArguments;
use super::machine::{self, Machine};
use crate::workspace::Workspace;

/// Rounds of a comparison.
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 2;

/// The name of the comparison that `--ordinary` makes.
const ORDINARY: &str = "ordinary networks";

#[derive(clap::Args)]
pub struct PeersArguments {
    /// Compare only these networks
    #[arg(long, value_delimiter = ',')]
    net: Vec<String>,
    /// Compare only this mode
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Compare only with these peers
    #[arg(long, value_enum, value_delimiter = ',')]
    peer: Vec<Peer>,
    /// Compare every network at this number of time steps, in place of the standard comparisons
    #[arg(long, requires = "batch")]
    time_steps: Option<usize>,
    /// Images of a step; with --time-steps
    #[arg(long, requires = "time_steps")]
    batch: Option<usize>,
    /// Firing rates in per cent; with --time-steps
    #[arg(long, value_delimiter = ',', default_value = "5", requires = "time_steps")]
    rates: Vec<f64>,
    /// How an image becomes input; with --time-steps
    #[arg(long, value_enum, default_value = "direct", requires = "time_steps")]
    encoding: Encoding,
    /// Compare a trained student too, from a checkpoint that `lasnn` wrote
    #[arg(long, requires = "data_dir", value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The folder that contains `cifar-10-batches-bin`, for the images of the student
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many rounds a comparison has; both sides are timed once in each
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Threads of both sides; all cores by default
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Compare one small network in two rounds, to test the programs; implies --scratch
    #[arg(long, conflicts_with_all = ["time_steps", "suffix"])]
    quick: bool,
    /// Compare only the training step of ordinary networks, with PyTorch's
    #[arg(long, conflicts_with_all = ["time_steps", "net", "mode", "peer", "checkpoint"])]
    ordinary: bool,
    /// Compare only lasnn with itself, on one thread and over twice the time steps
    #[arg(long, conflicts_with_all = ["time_steps", "peer", "checkpoint", "ordinary", "quick"])]
    ourselves: bool,
    #[command(flatten)]
    destination: DestinationArguments,
}

pub fn peers(workspace: &Workspace, arguments: &PeersArguments) -> anyhow::Result<()> {
    let all = selected(arguments);
    anyhow::ensure!(arguments.ordinary || !all.is_empty(), "the options leave nothing to compare");
    let machine = Machine::here(workspace)?;
    let mut destination = arguments.destination.clone();
    destination.scratch |= arguments.quick;
    let identity = Identity {
        commit: machine.commit.clone(),
        machine: machine.kind(),
        command: command(arguments),
        checkpoint: arguments.checkpoint.clone(),
    };
    let mut record = Record::begin(&workspace.root, &destination, &machine, identity)?;
    let programs = Programs::prepare(workspace)?;
    let rounds = if arguments.quick { QUICK_ROUNDS } else { ROUNDS };
    let rounds = arguments.rounds.unwrap_or(rounds).max(1);
    let threads = arguments.threads.unwrap_or_else(machine::cores);
    if arguments.ordinary && !record.is_complete(ORDINARY) {
        let rows = ordinary::compare(workspace, &programs, rounds, threads, &machine)?;
        let outcomes = rows.into_iter().map(|row| Outcome::Row(Box::new(row))).collect();
        record.add(ORDINARY, outcomes)?;
    }
    let mut campaign = Campaign {
        programs: &programs,
        peers: if arguments.peer.is_empty() { &Peer::ALL[..] } else { &arguments.peer },
        rounds,
        threads,
        quick: arguments.quick,
        student: arguments.checkpoint.as_deref().zip(arguments.data_dir.as_deref()),
        machine: &machine,
        fastest: Vec::new(),
        not_compiled: Vec::new(),
    };
    for (number, comparison) in all.iter().enumerate() {
        let name = comparison.to_string();
        let is_complete = record.is_complete(&name);
        let note = if is_complete { ": complete" } else { "" };
        eprintln!("[{}/{}] {name}{note}", number + 1, all.len());
        if !is_complete {
            record.add(&name, campaign.compare(comparison)?)?;
        }
    }
    record.finish()
}

/// The comparisons that the arguments select.
fn selected(arguments: &PeersArguments) -> Vec<Comparison> {
    if arguments.ordinary {
        return Vec::new();
    }
    let trained = arguments.checkpoint.is_some();
    let mut all = match (arguments.time_steps, arguments.batch) {
        (Some(time_steps), Some(batch)) => {
            matrix::grid(&arguments.rates, time_steps, batch, arguments.encoding)
        }
        _ if arguments.quick => matrix::quick(trained),
        _ => matrix::standard(trained),
    };
    if arguments.ourselves {
        all.retain(|comparison| comparison.against != Against::Peers);
    }
    let several = arguments.threads.unwrap_or_else(machine::cores) > 1;
    all.retain(|comparison| {
        let net = match comparison.weights {
            Weights::Random { net, .. } => net,
            Weights::Trained => "student",
        };
        let is_wanted = arguments.net.is_empty() || arguments.net.iter().any(|name| name == net);
        let is_possible = several || comparison.against != Against::OneThread;
        let has_mode = arguments.mode.is_none_or(|mode| mode == comparison.mode);
        is_wanted && is_possible && has_mode
    });
    all
}

/// The command as a reader would type it, with FILE and DIR for names that differ elsewhere.
fn command(arguments: &PeersArguments) -> String {
    let mut command = "cargo xtask bench peers".to_owned();
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.push_str(&format!(" --{name} {value}"));
        }
    };
    let list = |names: Vec<String>| (!names.is_empty()).then(|| names.join(","));
    option("net", list(arguments.net.clone()));
    option("mode", arguments.mode.map(|mode| mode.name().to_owned()));
    option("peer", list(arguments.peer.iter().map(|peer| peer.name().to_owned()).collect()));
    option("time-steps", arguments.time_steps.map(|steps| steps.to_string()));
    option("batch", arguments.batch.map(|batch| batch.to_string()));
    if arguments.time_steps.is_some() {
        option("rates", list(arguments.rates.iter().map(f64::to_string).collect()));
        option("encoding", Some(arguments.encoding.name().to_owned()));
    }
    option("checkpoint", arguments.checkpoint.as_ref().map(|_| "FILE".to_owned()));
    option("data-dir", arguments.data_dir.as_ref().map(|_| "DIR".to_owned()));
    option("rounds", arguments.rounds.map(|rounds| rounds.to_string()));
    option("threads", arguments.threads.map(|threads| threads.to_string()));
    option("suffix", arguments.destination.suffix.clone());
    for (name, given) in [
        ("ordinary", arguments.ordinary),
        ("ourselves", arguments.ourselves),
        ("quick", arguments.quick),
        ("scratch", arguments.destination.scratch),
    ] {
        if given {
            command.push_str(&format!(" --{name}"));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: PeersArguments,
    }

    fn parse(line: &str) -> PeersArguments {
        Line::parse_from(line.split_whitespace()).arguments
    }

    #[test]
    fn networks_and_modes_are_filters() {
        let all = selected(&parse("peers --net vgg9,resnet12 --mode train"));
        assert!(!all.is_empty());
        assert!(all.iter().all(|comparison| comparison.mode == Mode::Train));
        assert!(all.iter().all(|comparison| matches!(
            comparison.weights,
            Weights::Random { net, .. } if net != "vgg5"
        )));
    }

    #[test]
    fn sizes_and_rates_replace_the_standard() {
        let all = selected(&parse("peers --net vgg5 --time-steps 4 --batch 2 --rates 1,3"));
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|comparison| comparison.time_steps == 4 && comparison.batch == 2));
    }

    #[test]
    fn the_command_names_no_file() {
        let line = "peers --quick --checkpoint /home/me/a.safetensors --data-dir /data --rounds 3";
        let expected =
            "cargo xtask bench peers --checkpoint FILE --data-dir DIR --rounds 3 --quick";
        assert_eq!(command(&parse(line)), expected);
    }
}
