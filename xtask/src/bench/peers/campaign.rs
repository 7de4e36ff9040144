//! Makes comparisons, one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agreement::Agreement;
use super::matrix::{Against, Comparison, Encoding, Format, Mode, Weights};
use super::row::{OURS, Row};
use super::setup::{Peer, Programs};
use super::turns::{Measured, fastest_step, take_turns};
use super::worker::Worker;
use crate::bench::machine::Machine;
use crate::workspace::run_for_output;

/// How long the pass whose spikes are compared may take, with the start of the interpreter.
const CHECK_LIMIT: Duration = Duration::from_secs(300);

/// How long a step of a setting may take, with its compilation, before the setting is dropped.
const SETTING_LIMIT: Duration = Duration::from_secs(240);

/// Steps that are timed in each setting.
const SETTING_STEPS: usize = 3;

/// If the plain setting of a number format takes so many times the fastest time, the format's other
/// settings are not tried. Processors without products of bfloat16 emulate them, and a step takes
/// minutes.
const SLOW_FORMAT: f64 = 4.0;

/// The settings that `--quick` tries.
const QUICK_SETTINGS: [&str; 2] = ["fp32", "bf16-nhwc"];

/// What all comparisons have in common.
pub struct Campaign<'a> {
    pub programs: &'a Programs,
    pub peers: &'a [Peer],
    pub rounds: usize,
    pub threads: usize,
    pub quick: bool,
    /// The checkpoint of the trained student and the folder of its images.
    pub student: Option<(&'a Path, &'a Path)>,
    pub machine: &'a Machine,
    /// The settings that were tried. They serve all firing rates, since the peers compute densely.
    pub fastest: Vec<(Comparison, Peer, TriedSettings)>,
    /// Modes and numbers of time steps for which compilation took too long. Compilation unrolls the
    /// time steps, so it would take as long in every other setting and batch size.
    pub not_compiled: Vec<(Peer, Mode, usize)>,
}

/// The settings of a peer.
#[derive(Clone, Debug)]
pub struct TriedSettings {
    fastest: String,
    /// The milliseconds of a step in each; none where it failed or took too long.
    all: BTreeMap<String, Option<f64>>,
}

/// A case file that `snn-step make` wrote.
struct Case {
    path: PathBuf,
    net: String,
    encoding: Encoding,
    firing_rate: Option<f64>,
}

/// Whether the plain setting of the same number format was much slower than the fastest setting.
fn has_slow_format(setting: &str, tried: &BTreeMap<String, Option<f64>>) -> bool {
    let Some((format, _)) = setting.split_once('-') else { return false };
    let best = tried.values().flatten().copied().fold(f64::INFINITY, f64::min);
    tried.get(format).is_some_and(|plain| plain.is_none_or(|plain| plain > SLOW_FORMAT * best))
}

/// The outcome of a comparison.
pub enum Outcome {
    Row(Box<Row>),
    Refused(Refused),
}

/// A comparison that was not timed, since the two sides compute different results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// What differs, and by how much.
    pub reason: String,
    /// Our number format.
    pub format: Format,
}

/// The side that ours is compared with.
struct OtherSide {
    name: &'static str,
    setting: String,
    settings_ms: BTreeMap<String, Option<f64>>,
    agreement: Option<Agreement>,
}

impl Campaign<'_> {
    /// The outcome for each peer and number format.
    ///
    /// # Errors
    ///
    /// If a program fails.
    pub fn compare(&mut self, comparison: &Comparison) -> anyhow::Result<Vec<Outcome>> {
        let case = self.make(comparison, "case")?;
        let mode = comparison.mode;
        let outcomes = match comparison.against {
            Against::Peers => self
                .peers
                .iter()
                .flat_map(|&peer| Format::all(mode).iter().map(move |&format| (peer, format)))
                .map(|(peer, format)| self.with_peer(comparison, &case, peer, format))
                .collect(),
            Against::OneThread => {
                let other = |format| self.programs.our_worker(&case.path, mode, format, 1);
                self.with_ourselves(comparison, &case, other, "1 thread")
            }
            Against::TwiceTheSteps => {
                let doubled =
                    Comparison { time_steps: 2 * comparison.time_steps, ..comparison.clone() };
                // Thresholds are calibrated again, so the firing rate of a time step is the same.
                let longer = self.make(&doubled, "doubled")?;
                let other =
                    |format| self.programs.our_worker(&longer.path, mode, format, self.threads);
                let setting = format!("T = {}", doubled.time_steps);
                self.with_ourselves(comparison, &case, other, &setting)
            }
        };
        // A case file takes hundreds of MiB.
        for name in ["case", "doubled"] {
            let path = self.path(name);
            if path.exists() {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        outcomes
    }

    fn with_peer(
        &mut self,
        comparison: &Comparison,
        case: &Case,
        peer: Peer,
        format: Format,
    ) -> anyhow::Result<Outcome> {
        let settings = self.settings(comparison, case, peer)?;
        let (mode, threads) = (comparison.mode, self.threads);
        let mut ours = self.programs.our_worker(&case.path, mode, format, threads)?;
        let mut theirs =
            self.programs.peer_worker(peer, &settings.fastest, &case.path, mode, threads)?;
        let our_check = ours.request("check", CHECK_LIMIT)?;
        let agreement = Agreement::of(&our_check, &theirs.request("check", CHECK_LIMIT)?)?;
        if let Some(difference) = agreement.beyond_limits(format) {
            let name = peer.name();
            let reason = format!("{comparison}, {}, {name}: {difference}", format.name());
            return Ok(Outcome::Refused(Refused { reason, format }));
        }
        let measured = take_turns(&mut ours, &mut theirs, self.rounds)?;
        let other = OtherSide {
            name: peer.name(),
            setting: settings.fastest,
            settings_ms: settings.all,
            agreement: Some(agreement),
        };
        Ok(Outcome::Row(Box::new(self.row(comparison, case, format, &measured, other))))
    }

    /// Compares with another worker of ours, in each number format.
    fn with_ourselves(
        &self,
        comparison: &Comparison,
        case: &Case,
        other: impl Fn(Format) -> anyhow::Result<Worker>,
        setting: &str,
    ) -> anyhow::Result<Vec<Outcome>> {
        let mode = comparison.mode;
        let compare = |&format| {
            let mut ours = self.programs.our_worker(&case.path, mode, format, self.threads)?;
            let measured = take_turns(&mut ours, &mut other(format)?, self.rounds)?;
            let other = OtherSide {
                name: OURS,
                setting: setting.to_owned(),
                settings_ms: BTreeMap::new(),
                agreement: None,
            };
            Ok(Outcome::Row(Box::new(self.row(comparison, case, format, &measured, other))))
        };
        Format::all(mode).iter().map(compare).collect()
    }

    /// Tries every setting in a process of its own, unless another firing rate has tried them.
    fn settings(
        &mut self,
        comparison: &Comparison,
        case: &Case,
        peer: Peer,
    ) -> anyhow::Result<TriedSettings> {
        let key = without_rate(comparison);
        let known = self.fastest.iter().find(|(known, of, _)| *known == key && *of == peer);
        if let Some((_, _, settings)) = known {
            return Ok(settings.clone());
        }
        let mut settings = self.programs.settings(peer)?;
        if self.quick {
            settings.retain(|setting| QUICK_SETTINGS.contains(&setting.as_str()));
        }
        let mut all = BTreeMap::new();
        let unrolled = (peer, comparison.mode, comparison.time_steps);
        for setting in settings {
            let compiles = setting.ends_with("compiled");
            if compiles && self.not_compiled.contains(&unrolled) || has_slow_format(&setting, &all)
            {
                all.insert(setting, None);
                continue;
            }
            let (mode, threads) = (comparison.mode, self.threads);
            let mut worker =
                self.programs.peer_worker(peer, &setting, &case.path, mode, threads)?;
            let time = fastest_step(&mut worker, SETTING_STEPS, SETTING_LIMIT);
            match &time {
                Ok(time) => eprintln!("    {} {setting}: {time:.0} ms", peer.name()),
                Err(error) => {
                    eprintln!("    {error:#}");
                    self.not_compiled.extend(compiles.then_some(unrolled));
                }
            }
            all.insert(setting, time.ok());
        }
        let timed = all.iter().filter_map(|(setting, time)| Some((setting, (*time)?)));
        let fastest = timed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(setting, _)| setting.clone());
        let fastest = fastest.with_context(|| {
            let log = self.programs.peers.scratch.join("peer.log");
            format!("{} runs in no setting; see {}", peer.name(), log.display())
        })?;
        let settings = TriedSettings { fastest, all };
        self.fastest.push((key, peer, settings.clone()));
        Ok(settings)
    }

    /// Lets our binary write a case file.
    fn make(&self, comparison: &Comparison, name: &str) -> anyhow::Result<Case> {
        let mut command = self.programs.ours();
        let path = self.path(name);
        command.args(["make", "--time-steps", &comparison.time_steps.to_string()]);
        command.args(["--batch", &comparison.batch.to_string()]).arg("--out").arg(&path);
        match &comparison.weights {
            Weights::Random { net, percent } => {
                command.args(["--net", net, "--rate", &(percent / 100.0).to_string()]);
                command.args(["--encoding", comparison.encoding.name()]);
            }
            Weights::Trained => {
                let (checkpoint, images) =
                    self.student.context("a trained student needs --checkpoint")?;
                command.arg("--checkpoint").arg(checkpoint).arg("--data-dir").arg(images);
            }
        }
        let summary: Value = serde_json::from_str(&run_for_output(command)?)
            .context("snn-step did not print what it made")?;
        Ok(Case {
            path,
            net: summary["net"].as_str().unwrap_or_default().to_owned(),
            encoding: Encoding::deserialize(&summary["encoding"])
                .context("snn-step did not name the encoding")?,
            firing_rate: summary["firing_rate"].as_f64(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.programs.peers.scratch.join(format!("{name}.safetensors"))
    }

    fn row(
        &self,
        comparison: &Comparison,
        case: &Case,
        format: Format,
        measured: &Measured,
        other: OtherSide,
    ) -> Row {
        Row {
            net: case.net.clone(),
            trained: comparison.weights == Weights::Trained,
            mode: comparison.mode,
            encoding: Some(case.encoding),
            time_steps: comparison.time_steps,
            batch: comparison.batch,
            threads: self.threads,
            firing_rate: case.firing_rate,
            format,
            ours_ms: measured.ours_ms,
            peer: other.name.to_owned(),
            setting: other.setting,
            settings_ms: other.settings_ms,
            peer_ms: measured.other_ms,
            ratio_median: measured.ratios.median,
            ratio_min: measured.ratios.min,
            ratio_max: measured.ratios.max,
            ours_peak_mib: Some(measured.ours_peak_mib),
            peer_peak_mib: Some(measured.other_peak_mib),
            rounds: self.rounds,
            spike_difference: other.agreement.map(|agreement| agreement.spike_difference),
            same_classes: other.agreement.map(|agreement| agreement.same_classes),
            machine: self.machine.kind(),
            commit: self.machine.commit.clone(),
        }
    }
}

/// The comparison with one firing rate in place of all rates.
fn without_rate(comparison: &Comparison) -> Comparison {
    let weights = match comparison.weights {
        Weights::Random { net, .. } => Weights::Random { net, percent: 0.0 },
        Weights::Trained => Weights::Trained,
    };
    Comparison { weights, ..comparison.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_a_slow_format_are_left_out() {
        let tried: BTreeMap<String, Option<f64>> =
            [("fp32", Some(10.0)), ("bf16", Some(41.0))].map(|(s, t)| (s.to_owned(), t)).into();
        for (setting, is_slow) in
            [("bf16-nhwc", true), ("bf16", false), ("fp32-nhwc", false), ("fp16-nhwc", false)]
        {
            assert_eq!(has_slow_format(setting, &tried), is_slow, "{setting}");
        }
        let failed = BTreeMap::from([("bf16".to_owned(), None)]);
        assert!(has_slow_format("bf16-compiled", &failed));
    }
}
