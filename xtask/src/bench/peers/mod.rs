//! `cargo xtask bench peers`: our spiking networks beside SpikingJelly and snnTorch.
//!
//! Builds our side, sets the peers up, and lets them take turns on cases that ours writes. What a peer is
//! fastest in is tried first; that both compute the same spikes is checked before any round.

mod agreement;
mod campaign;
mod duel;
mod matrix;
mod ordinary;
pub mod row;
mod setup;
mod table;
pub mod target;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use self::campaign::{Campaign, Compared};
use self::matrix::{Against, Encoding, Format, Mode, Weights, Work};
use self::row::Row;
use self::setup::{Peer, Programs};
use super::machine::{self, Machine};
use crate::workspace::{Workspace, replace_file};

/// The rounds of a comparison.
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 2;

#[derive(clap::Args)]
pub struct PeersArguments {
    /// Only these networks
    #[arg(long, value_delimiter = ',')]
    net: Vec<String>,
    /// Only this mode
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Only these peers
    #[arg(long, value_enum, value_delimiter = ',')]
    peer: Vec<Peer>,
    /// Every network at this number of time steps, instead of the standard comparisons
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
    /// A trained student to compare with too, a checkpoint that `lasnn` wrote
    #[arg(long, requires = "data_dir", value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The folder that contains `cifar-10-batches-bin`, for the images of the student
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How often both sides take their turn
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Threads of both sides; all cores by default
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// One small network in two rounds, to see whether everything works
    #[arg(long, conflicts_with = "time_steps")]
    quick: bool,
    /// Compare the training step of ordinary networks with PyTorch's, and nothing else
    #[arg(long, conflicts_with_all = ["time_steps", "net", "mode", "peer", "checkpoint"])]
    ordinary: bool,
    /// Compare ours with ours, on one thread and over twice the steps, and nothing else
    #[arg(long, conflicts_with_all = ["time_steps", "peer", "checkpoint", "ordinary", "quick"])]
    ourselves: bool,
    /// Keep the rows of this kind of machine that this run does not measure; others' are kept always
    #[arg(long)]
    keep: bool,
    /// Where the table goes: results/cpu, or target/bench-peers/quick
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn peers(workspace: &Workspace, arguments: &PeersArguments) -> anyhow::Result<()> {
    let all = chosen(arguments);
    anyhow::ensure!(arguments.ordinary || !all.is_empty(), "nothing is left to compare");
    let programs = Programs::prepare(workspace)?;
    let machine = Machine::here(workspace)?;
    let out = arguments.out.clone().unwrap_or_else(|| match arguments.quick {
        true => programs.peers.scratch.join("quick"),
        false => workspace.root.join("results/cpu"),
    });
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut rows = read(&out)?;
    if !arguments.keep {
        rows.retain(|row| row.machine != machine.kind());
    }
    let peers = if arguments.peer.is_empty() { &Peer::ALL[..] } else { &arguments.peer };
    let rounds = if arguments.quick { QUICK_ROUNDS } else { ROUNDS };
    let rounds = arguments.rounds.unwrap_or(rounds).max(1);
    let threads = arguments.threads.unwrap_or_else(machine::cores);
    let command = command(arguments);
    if arguments.ordinary {
        let measured = ordinary::compare(workspace, &programs, rounds, threads, &machine)?;
        measured.into_iter().for_each(|row| put(&mut rows, row));
        write(&out, &rows, &machine, &command)?;
    }
    let mut campaign = Campaign {
        programs: &programs,
        peers,
        rounds,
        threads,
        quick: arguments.quick,
        student: arguments.checkpoint.as_deref().zip(arguments.data_dir.as_deref()),
        machine: &machine,
        fastest: Vec::new(),
        given_up: Vec::new(),
    };
    let mut wrong = Vec::new();
    for (number, work) in all.iter().enumerate() {
        eprintln!("[{}/{}] {work}", number + 1, all.len());
        for compared in campaign.compare(work)? {
            match compared {
                Compared::Row(row) => put(&mut rows, *row),
                Compared::Refused { reason, format } => {
                    eprintln!("    not compared: {reason}");
                    // Rounded weights may lead elsewhere; the same numbers may not.
                    wrong.extend((format == Format::F32).then_some(reason));
                }
            }
        }
        // After every line, since the whole takes long.
        write(&out, &rows, &machine, &command)?;
    }
    eprintln!("wrote {}", out.join("README.md").display());
    anyhow::ensure!(
        wrong.is_empty(),
        "the two sides compute different things: {}",
        wrong.join("; ")
    );
    Ok(())
}

/// Adds a row, in the place of the one that measured the same before.
fn put(rows: &mut Vec<Row>, row: Row) {
    eprintln!(
        "    {}, {} {}: {:.1} ms against {:.1} ms, {:.2}x",
        row.net, row.peer, row.setting, row.ours_ms, row.peer_ms, row.ratio_median
    );
    match rows.iter_mut().find(|old| row.measures_what(old)) {
        Some(old) => *old = row,
        None => rows.push(row),
    }
}

/// The lines of the matrix that the arguments ask for.
fn chosen(arguments: &PeersArguments) -> Vec<Work> {
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
        all.retain(|work| work.against != Against::Peers);
    }
    let several = arguments.threads.unwrap_or_else(machine::cores) > 1;
    all.retain(|work| {
        let net = match work.weights {
            Weights::Random { net, .. } => net,
            Weights::Trained => "student",
        };
        let wanted = arguments.net.is_empty() || arguments.net.iter().any(|name| name == net);
        let possible = several || work.against != Against::OneThread;
        wanted && possible && arguments.mode.is_none_or(|mode| mode == work.mode)
    });
    all
}

/// The command as a reader would type it; files have other names elsewhere.
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
    for (name, given) in [
        ("ordinary", arguments.ordinary),
        ("ourselves", arguments.ourselves),
        ("quick", arguments.quick),
        ("keep", arguments.keep),
    ] {
        option(name, given.then(String::new));
    }
    command.trim_end().to_owned()
}

/// The rows of an earlier run, if there was one.
fn read(out: &Path) -> anyhow::Result<Vec<Row>> {
    let path = out.join("peers.json");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} holds no rows", path.display()))
}

fn write(out: &Path, rows: &[Row], machine: &Machine, command: &str) -> anyhow::Result<()> {
    let rows_json = serde_json::to_string_pretty(rows)? + "\n";
    let files = [("peers.json", rows_json), ("README.md", table::readme(rows, machine, command))];
    for (name, text) in files {
        replace_file(&out.join(name), &text)?;
    }
    Ok(())
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
        let all = chosen(&parse("peers --net vgg9,resnet12 --mode train"));
        assert!(!all.is_empty());
        assert!(all.iter().all(|work| work.mode == Mode::Train));
        let nets =
            |work: &Work| matches!(work.weights, Weights::Random { net, .. } if net != "vgg5");
        assert!(all.iter().all(nets));
    }

    #[test]
    fn sizes_and_rates_replace_the_standard() {
        let all = chosen(&parse("peers --net vgg5 --time-steps 4 --batch 2 --rates 1,3"));
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|work| work.time_steps == 4 && work.batch == 2));
    }

    #[test]
    fn the_command_names_no_file() {
        let line = "peers --quick --checkpoint /home/me/a.safetensors --data-dir /data --rounds 3";
        let expected =
            "cargo xtask bench peers --checkpoint FILE --data-dir DIR --rounds 3 --quick";
        assert_eq!(command(&parse(line)), expected);
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        let machine = Machine {
            processor: String::new(),
            cores: 1,
            memory_gib: 1,
            date: String::new(),
            commit: String::new(),
        };
        write(folder.path(), &[row::tests::row()], &machine, "x").unwrap();
        assert_eq!(read(folder.path()).unwrap(), [row::tests::row()]);
    }
}
