//! `cargo xtask bench compare`: the criterion benchmarks against those committed for this kind of machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kernels::{self, KernelArguments};
use super::machine::Machine;
use crate::workspace::{Workspace, replace_file};

#[derive(clap::Args)]
pub struct CompareArguments {
    /// Measure, and make it the baseline of this kind of machine
    #[arg(long)]
    save: bool,
    /// By how many per cent the slowest plausible time may grow before it counts as a regression
    #[arg(long, default_value_t = 15.0, value_name = "PERCENT")]
    tolerance: f64,
    #[command(flatten)]
    kernels: KernelArguments,
}

/// What was measured once on one kind of machine.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    processor: String,
    cores: usize,
    date: String,
    commit: String,
    /// By the name that criterion prints.
    benchmarks: BTreeMap<String, Time>,
}

/// The median time of a benchmark and its confidence interval, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    median: f64,
    low: f64,
    high: f64,
}

/// Measures, and compares or saves.
///
/// # Errors
///
/// If a benchmark fails, there is no baseline, or something became slower than it may.
pub fn compare(workspace: &Workspace, arguments: &CompareArguments) -> anyhow::Result<()> {
    let machine = Machine::here(workspace)?;
    let path = path(&workspace.root, &machine);
    // A missing baseline should not cost the minutes of a measurement.
    let old = match arguments.save {
        true => None,
        false => Some(read(&path)?),
    };
    let begun = SystemTime::now();
    kernels::kernels(workspace, &arguments.kernels)?;
    let found = measured(&workspace.root.join("target/criterion"), begun)?;
    anyhow::ensure!(!found.is_empty(), "no benchmark ran");
    let Some(old) = old else {
        let baseline = Baseline {
            processor: machine.processor,
            cores: machine.cores,
            date: machine.date,
            commit: machine.commit,
            benchmarks: found,
        };
        replace_file(&path, &(serde_json::to_string_pretty(&baseline)? + "\n"))?;
        eprintln!("baseline of {} benchmarks: {}", baseline.benchmarks.len(), path.display());
        return Ok(());
    };
    eprintln!("against {} of {} ({})", old.commit, old.date, path.display());
    let regressions = report(&old.benchmarks, &found, arguments.tolerance / 100.0);
    anyhow::ensure!(regressions == 0, "{regressions} benchmarks became slower");
    Ok(())
}

/// Where the baseline of a kind of machine is.
fn path(root: &Path, machine: &Machine) -> PathBuf {
    let words: Vec<String> = machine
        .processor
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let name = format!("{}-{}-cores.json", words.join("-"), machine.cores);
    root.join("benches/baselines").join(name)
}

fn read(path: &Path) -> anyhow::Result<Baseline> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read {}, the baseline of this kind of machine; `cargo xtask bench compare --save` writes one",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is no baseline", path.display()))
}

/// What criterion has written since `begun`, below a folder.
fn measured(folder: &Path, begun: SystemTime) -> anyhow::Result<BTreeMap<String, Time>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if entry.file_type().with_context(failed)?.is_dir() {
                folders.push(entry.path());
            }
        }
        let estimates = folder.join("estimates.json");
        let is_new = folder.file_name().is_some_and(|name| name == "new");
        if !is_new || !estimates.is_file() {
            continue;
        }
        let changed = fs::metadata(&estimates).and_then(|data| data.modified());
        if changed.with_context(failed)? >= begun {
            let about = json(&folder.join("benchmark.json"))?;
            let name = about["full_id"].as_str().with_context(failed)?.to_owned();
            let time = time(&json(&estimates)?).with_context(failed)?;
            found.insert(name, time);
        }
    }
    Ok(found)
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The median in criterion's estimates.
fn time(estimates: &Value) -> Option<Time> {
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    Some(Time {
        median: median["point_estimate"].as_f64()?,
        low: interval["lower_bound"].as_f64()?,
        high: interval["upper_bound"].as_f64()?,
    })
}

/// Prints every benchmark; returns how many became slower beyond noise.
fn report(old: &BTreeMap<String, Time>, new: &BTreeMap<String, Time>, tolerance: f64) -> usize {
    let mut regressions = 0;
    for (name, new) in new {
        let verdict = match old.get(name) {
            None => "not in the baseline".into(),
            Some(old) => {
                let change = 100.0 * (new.median / old.median - 1.0);
                let verdict = verdict(old, new, tolerance);
                regressions += usize::from(verdict == Verdict::Slower);
                format!("{change:+.0} % {}", verdict.name())
            }
        };
        eprintln!("{:>12.3} ms  {name}: {verdict}", new.median / 1e6);
    }
    regressions
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Slower,
    Faster,
    Same,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Slower => "SLOWER",
            Self::Faster => "faster",
            Self::Same => "within noise",
        }
    }
}

/// Intervals that do not touch even if the slower one shrinks by the tolerance.
fn verdict(old: &Time, new: &Time, tolerance: f64) -> Verdict {
    if new.low > old.high * (1.0 + tolerance) {
        Verdict::Slower
    } else if new.high * (1.0 + tolerance) < old.low {
        Verdict::Faster
    } else {
        Verdict::Same
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn time(median: f64) -> Time {
        Time { median, low: 0.95 * median, high: 1.05 * median }
    }

    #[test]
    fn noise_is_no_regression_and_a_regression_is_one() {
        assert_eq!(verdict(&time(100.0), &time(120.0), 0.15), Verdict::Same);
        assert_eq!(verdict(&time(100.0), &time(130.0), 0.15), Verdict::Slower);
        assert_eq!(verdict(&time(130.0), &time(100.0), 0.15), Verdict::Faster);
        let old = BTreeMap::from([("a".into(), time(1.0)), ("b".into(), time(1.0))]);
        let new = BTreeMap::from([("a".into(), time(2.0)), ("c".into(), time(9.0))]);
        assert_eq!(report(&old, &new, 0.15), 1);
        assert_eq!(report(&old, &old, 0.0), 0);
    }

    #[test]
    fn criterions_files_are_found_unless_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("scan/kernel/8/new");
        fs::create_dir_all(&new).unwrap();
        fs::create_dir_all(folder.path().join("scan/kernel/8/base")).unwrap();
        fs::write(new.join("benchmark.json"), r#"{"full_id": "scan/kernel/8"}"#).unwrap();
        let estimates = r#"{"median": {"point_estimate": 5.0,
            "confidence_interval": {"lower_bound": 4.0, "upper_bound": 6.0}}}"#;
        fs::write(new.join("estimates.json"), estimates).unwrap();
        let begun = SystemTime::now() - Duration::from_secs(60);
        let expected = Time { median: 5.0, low: 4.0, high: 6.0 };
        let found = measured(folder.path(), begun).unwrap();
        assert_eq!(found, BTreeMap::from([("scan/kernel/8".into(), expected)]));
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(measured(folder.path(), later).unwrap().is_empty());
        fs::write(new.join("estimates.json"), "{}").unwrap();
        assert!(measured(folder.path(), begun).is_err());
    }

    #[test]
    fn a_baseline_belongs_to_a_kind_of_machine() {
        let machine = Machine {
            processor: "Abacus(R) 9 @ 3 GHz".into(),
            cores: 2,
            memory_gib: 1,
            date: String::new(),
            commit: String::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), &machine);
        assert!(path.ends_with("benches/baselines/abacus-r-9-3-ghz-2-cores.json"));
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("bench compare --save"), "{error}");
    }
}
