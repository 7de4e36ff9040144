//! The training step of ordinary networks compared with PyTorch's.
//!
//! `ann-step` and `benches/peers/ann.py` take the same options, and each prints a line of JSON with
//! the median time of its steps. Whole processes take turns, not single steps.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::matrix::{Format, Mode};
use super::row::{PYTORCH, Row};
use super::setup::Programs;
use crate::bench::environment::build;
use crate::bench::machine::Machine;
use crate::bench::statistics::{median, ratios};
use crate::workspace::{Workspace, run_for_output};

/// An intermediate network with Adam, and a teacher with batch norm and SGD.
const NETS: [&str; 2] = ["vgg5", "teacher-resnet20"];

const BATCH: usize = 64;

/// Steps that one process times.
const STEPS: usize = 5;

/// One row for each network and number format.
///
/// # Errors
///
/// If a program fails.
pub fn compare(
    workspace: &Workspace,
    programs: &Programs,
    rounds: usize,
    threads: usize,
    machine: &Machine,
) -> anyhow::Result<Vec<Row>> {
    let binary = build(workspace, "ann-step")?;
    let with_options = |mut command: Command, net: &str| {
        command.args(["--network", net, "--batch", &BATCH.to_string()]);
        command.args(["--steps", &STEPS.to_string(), "--threads", &threads.to_string()]);
        command
    };
    let ours = |net: &str, format: Format| {
        let mut command = with_options(Command::new(&binary), net);
        command.args(["--format", format.name()]);
        our_median(command)
    };
    let theirs = |net: &str, mode: &[&str]| {
        let mut command = with_options(programs.peers.script("ann.py"), net);
        command.args(mode);
        run_for_output(command)
    };
    let mut rows = Vec::new();
    for net in NETS {
        let modes = times_by_mode(&theirs(net, &["--all"])?)?;
        let fastest = modes.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(mode, _)| mode.clone());
        let setting = fastest.context("ann.py tried no mode")?;
        for &format in Format::all(Mode::Train) {
            let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                our_times.push(ours(net, format)?);
                let text = theirs(net, &["--mode", &setting])?;
                their_times.push(
                    times_by_mode(&text)?.remove(&setting).context("ann.py ran another mode")?,
                );
            }
            let found = ratios(&our_times, &their_times);
            rows.push(Row {
                net: net.to_owned(),
                trained: false,
                mode: Mode::Train,
                encoding: None,
                time_steps: 1,
                batch: BATCH,
                threads,
                firing_rate: None,
                format,
                ours_ms: median(&our_times),
                peer: PYTORCH.to_owned(),
                setting: setting.clone(),
                settings_ms: modes.iter().map(|(mode, &time)| (mode.clone(), Some(time))).collect(),
                peer_ms: median(&their_times),
                ratio_median: found.median,
                ratio_min: found.min,
                ratio_max: found.max,
                ours_peak_mib: None,
                peer_peak_mib: None,
                rounds,
                spike_difference: None,
                same_classes: None,
                machine: machine.kind(),
                commit: machine.commit.clone(),
            });
        }
    }
    Ok(rows)
}

/// The median time in the last line that `ann-step` prints.
fn our_median(command: Command) -> anyhow::Result<f64> {
    let text = run_for_output(command)?;
    let line = text.lines().last().context("ann-step printed nothing")?;
    let line: Value =
        serde_json::from_str(line).with_context(|| format!("ann-step printed `{line}`"))?;
    line["median_ms"].as_f64().with_context(|| format!("`{line}` has no median_ms"))
}

/// The median time of each mode that `ann.py` prints.
fn times_by_mode(lines: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let mode = |line: &str| -> anyhow::Result<(String, f64)> {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("ann.py printed `{line}`"))?;
        let (mode, time) = (line["mode"].as_str(), line["median_ms"].as_f64());
        let (mode, time) =
            mode.zip(time).with_context(|| format!("`{line}` has no mode or no median_ms"))?;
        Ok((mode.to_owned(), time))
    };
    lines.lines().map(mode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_a_median() {
        let text = "{\"mode\": \"fp32\", \"median_ms\": 20.5, \"batch\": 64}\n\
                    {\"mode\": \"bfloat16-nhwc\", \"median_ms\": 10.0}\n";
        let modes = times_by_mode(text).unwrap();
        assert_eq!(modes["fp32"], 20.5);
        assert_eq!(modes["bfloat16-nhwc"], 10.0);
        assert!(times_by_mode("{\"mode\": \"fp32\"}").is_err());
    }
}
