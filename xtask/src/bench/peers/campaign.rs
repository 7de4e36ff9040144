//! From lines of the matrix to rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::agreement::Agreement;
use super::duel::{Outcome, duel, fastest_step};
use super::matrix::{Against, Encoding, Format, Mode, Weights, Work};
use super::row::{OURS, Row};
use super::setup::{Peer, Programs};
use super::worker::Worker;
use crate::bench::machine::Machine;
use crate::workspace::run_for_output;

/// A pass for the check, and the start of an interpreter before it.
const PATIENCE: Duration = Duration::from_secs(300);

/// A setting in which a step takes longer, its compilation included, is not tried further.
const SETTING_PATIENCE: Duration = Duration::from_secs(240);

/// Steps of each setting.
const TRIED_STEPS: usize = 3;

/// A number format that takes so many times the fastest time in its plain setting is not tried in others:
/// processors without products of bfloat16 emulate them, and take minutes for a step.
const HOPELESS: f64 = 4.0;

/// Settings to see whether everything works.
const QUICK_SETTINGS: [&str; 2] = ["fp32", "bf16-nhwc"];

/// Everything that stays the same from line to line.
pub struct Campaign<'a> {
    pub programs: &'a Programs,
    pub peers: &'a [Peer],
    pub rounds: usize,
    pub threads: usize,
    pub quick: bool,
    /// The checkpoint of the trained student and the folder of its images.
    pub student: Option<(&'a Path, &'a Path)>,
    pub machine: &'a Machine,
    /// The settings found so far; they do not depend on the firing rate, since the peers compute densely.
    pub fastest: Vec<(Work, Peer, Tried)>,
    /// Where compilation was given up, by mode and number of steps: it unrolls the steps, so it would take as
    /// long in every other setting and batch.
    pub given_up: Vec<(Peer, Mode, usize)>,
}

/// The settings of a peer that were tried.
#[derive(Clone, Debug)]
pub struct Tried {
    fastest: String,
    all: BTreeMap<String, Option<f64>>,
}

/// A case that was made.
struct Made {
    path: PathBuf,
    net: String,
    encoding: Encoding,
    firing_rate: Option<f64>,
}

/// Whether the plain setting of the same number format was far behind.
fn is_hopeless(setting: &str, tried: &BTreeMap<String, Option<f64>>) -> bool {
    let Some((format, _)) = setting.split_once('-') else { return false };
    let best = tried.values().flatten().copied().fold(f64::INFINITY, f64::min);
    tried.get(format).is_some_and(|plain| plain.is_none_or(|plain| plain > HOPELESS * best))
}

/// What became of a comparison.
pub enum Compared {
    /// It was made.
    Row(Box<Row>),
    /// The sides do not compute the same, so their times say nothing.
    Refused {
        /// What differs, and by how much.
        reason: String,
        /// What ours computed with.
        format: Format,
    },
}

/// What ours was compared with.
struct Other {
    name: &'static str,
    setting: String,
    settings_ms: BTreeMap<String, Option<f64>>,
    agreement: Option<Agreement>,
}

impl Campaign<'_> {
    /// The comparisons of one line.
    ///
    /// # Errors
    ///
    /// If a program fails.
    pub fn compare(&mut self, work: &Work) -> anyhow::Result<Vec<Compared>> {
        let case = self.make(work, "case")?;
        let compared = match work.against {
            Against::Peers => self
                .peers
                .iter()
                .flat_map(|&peer| Format::of(work.mode).iter().map(move |&format| (peer, format)))
                .map(|(peer, format)| self.with_peer(work, &case, peer, format))
                .collect(),
            Against::OneThread => {
                let other = |format| self.programs.our_worker(&case.path, work.mode, format, 1);
                self.with_ourselves(work, &case, other, "1 thread")
            }
            Against::TwiceTheSteps => {
                let doubled = Work { time_steps: 2 * work.time_steps, ..work.clone() };
                // Calibrated anew: as busy in every step, just longer.
                let longer = self.make(&doubled, "doubled")?;
                let other = |format| {
                    self.programs.our_worker(&longer.path, work.mode, format, self.threads)
                };
                self.with_ourselves(work, &case, other, &format!("T = {}", doubled.time_steps))
            }
        };
        // Hundreds of MiB each.
        for name in ["case", "doubled"] {
            let path = self.path(name);
            if path.exists() {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        compared
    }

    fn with_peer(
        &mut self,
        work: &Work,
        case: &Made,
        peer: Peer,
        format: Format,
    ) -> anyhow::Result<Compared> {
        let tried = self.tried(work, case, peer)?;
        let mut ours = self.programs.our_worker(&case.path, work.mode, format, self.threads)?;
        let setting = &tried.fastest;
        let mut theirs =
            self.programs.peer_worker(peer, setting, &case.path, work.mode, self.threads)?;
        let agreement =
            Agreement::of(&ours.ask("check", PATIENCE)?, &theirs.ask("check", PATIENCE)?)?;
        if let Some(difference) = agreement.beyond(format) {
            let reason = format!("{work}, {}: {difference} from {}'s", format.name(), peer.name());
            return Ok(Compared::Refused { reason, format });
        }
        let outcome = duel(&mut ours, &mut theirs, self.rounds)?;
        let other = Other {
            name: peer.name(),
            setting: tried.fastest,
            settings_ms: tried.all,
            agreement: Some(agreement),
        };
        Ok(Compared::Row(Box::new(self.row(work, case, format, &outcome, other))))
    }

    /// Compares with another worker of ours, format by format.
    fn with_ourselves(
        &self,
        work: &Work,
        case: &Made,
        other: impl Fn(Format) -> anyhow::Result<Worker>,
        setting: &str,
    ) -> anyhow::Result<Vec<Compared>> {
        let compare = |&format| {
            let mut ours = self.programs.our_worker(&case.path, work.mode, format, self.threads)?;
            let outcome = duel(&mut ours, &mut other(format)?, self.rounds)?;
            let other = Other {
                name: OURS,
                setting: setting.to_owned(),
                settings_ms: BTreeMap::new(),
                agreement: None,
            };
            Ok(Compared::Row(Box::new(self.row(work, case, format, &outcome, other))))
        };
        Format::of(work.mode).iter().map(compare).collect()
    }

    /// Tries every setting, each in a process of its own, unless that was done before.
    fn tried(&mut self, work: &Work, case: &Made, peer: Peer) -> anyhow::Result<Tried> {
        let key = without_rate(work);
        let known = self.fastest.iter().find(|(known, of, _)| *known == key && *of == peer);
        if let Some((_, _, tried)) = known {
            return Ok(tried.clone());
        }
        let mut settings = self.programs.settings(peer)?;
        if self.quick {
            settings.retain(|setting| QUICK_SETTINGS.contains(&setting.as_str()));
        }
        let mut all = BTreeMap::new();
        let place = (peer, work.mode, work.time_steps);
        for setting in settings {
            let compiled = setting.ends_with("compiled");
            if compiled && self.given_up.contains(&place) || is_hopeless(&setting, &all) {
                all.insert(setting, None);
                continue;
            }
            let mut worker =
                self.programs.peer_worker(peer, &setting, &case.path, work.mode, self.threads)?;
            let time = fastest_step(&mut worker, TRIED_STEPS, SETTING_PATIENCE);
            match &time {
                Ok(time) => eprintln!("    {} {setting}: {time:.0} ms", peer.name()),
                Err(error) => {
                    eprintln!("    {error:#}");
                    self.given_up.extend(compiled.then_some(place));
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
        let tried = Tried { fastest, all };
        self.fastest.push((key, peer, tried.clone()));
        Ok(tried)
    }

    /// Lets ours write a case.
    fn make(&self, work: &Work, name: &str) -> anyhow::Result<Made> {
        let mut command = self.programs.ours();
        let path = self.path(name);
        command.args(["make", "--time-steps", &work.time_steps.to_string()]);
        command.args(["--batch", &work.batch.to_string()]).arg("--out").arg(&path);
        match &work.weights {
            Weights::Random { net, percent } => {
                command.args(["--net", net, "--rate", &(percent / 100.0).to_string()]);
                command.args(["--encoding", work.encoding.name()]);
            }
            Weights::Trained => {
                let (checkpoint, images) =
                    self.student.context("a trained student needs --checkpoint")?;
                command.arg("--checkpoint").arg(checkpoint).arg("--data-dir").arg(images);
            }
        }
        let about: Value = serde_json::from_str(&run_for_output(command)?)
            .context("snn-step did not say what it made")?;
        Ok(Made {
            path,
            net: about["net"].as_str().unwrap_or_default().to_owned(),
            encoding: Encoding::deserialize(&about["encoding"])
                .context("snn-step did not name the encoding")?,
            firing_rate: about["firing_rate"].as_f64(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.programs.peers.scratch.join(format!("{name}.safetensors"))
    }

    fn row(
        &self,
        work: &Work,
        case: &Made,
        format: Format,
        outcome: &Outcome,
        other: Other,
    ) -> Row {
        Row {
            net: case.net.clone(),
            trained: work.weights == Weights::Trained,
            mode: work.mode,
            encoding: Some(case.encoding),
            time_steps: work.time_steps,
            batch: work.batch,
            threads: self.threads,
            firing_rate: case.firing_rate,
            format,
            ours_ms: outcome.ours_ms,
            peer: other.name.to_owned(),
            setting: other.setting,
            settings_ms: other.settings_ms,
            peer_ms: outcome.other_ms,
            ratio_median: outcome.ratios.median,
            ratio_min: outcome.ratios.min,
            ratio_max: outcome.ratios.max,
            ours_peak_mib: Some(outcome.ours_peak_mib),
            peer_peak_mib: Some(outcome.other_peak_mib),
            rounds: self.rounds,
            spike_difference: other.agreement.map(|agreement| agreement.spikes),
            same_classes: other.agreement.map(|agreement| agreement.classes),
            machine: self.machine.kind(),
            commit: self.machine.commit.clone(),
        }
    }
}

/// The line with one rate for all.
fn without_rate(work: &Work) -> Work {
    let weights = match work.weights {
        Weights::Random { net, .. } => Weights::Random { net, percent: 0.0 },
        Weights::Trained => Weights::Trained,
    };
    Work { weights, ..work.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variants_of_a_format_far_behind_are_left_out() {
        let tried: BTreeMap<String, Option<f64>> =
            [("fp32", Some(10.0)), ("bf16", Some(41.0))].map(|(s, t)| (s.to_owned(), t)).into();
        for (setting, hopeless) in
            [("bf16-nhwc", true), ("bf16", false), ("fp32-nhwc", false), ("fp16-nhwc", false)]
        {
            assert_eq!(is_hopeless(setting, &tried), hopeless, "{setting}");
        }
        let failed = BTreeMap::from([("bf16".to_owned(), None)]);
        assert!(is_hopeless("bf16-compiled", &failed));
    }
}
