//! `cargo xtask bench compare`: compares the criterion benchmarks with a committed baseline.
//!
//! The time of a benchmark is that of its fastest sample, because other programs on the machine can
//! only add time. Noise may last longer than one benchmark. Therefore a benchmark that seems slower
//! is measured again, and it is slower only if it is in every measurement.

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
    /// Write the measurement as the baseline of this kind of machine
    #[arg(long)]
    save: bool,
    /// By how many per cent a time may be above the baseline
    #[arg(long, default_value_t = 15.0, value_name = "PERCENT")]
    tolerance: f64,
    /// How often to measure benchmarks again that seem slower; with `--save`, all benchmarks
    #[arg(long = "again", default_value_t = 2, value_name = "TIMES")]
    repeats: usize,
    #[command(flatten)]
    kernels: KernelArguments,
}

/// The times of one kind of machine, as a file under `benches/baselines/` holds them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    processor: String,
    cores: usize,
    date: String,
    commit: String,
    /// The best time of each benchmark, in nanoseconds. The key is the name that criterion prints.
    benchmarks: Times,
}

type Times = BTreeMap<String, f64>;

/// Measures, and compares with the baseline or writes it.
///
/// # Errors
///
/// If a benchmark fails, there is no baseline, or a benchmark is slower than the tolerance allows.
pub fn compare(workspace: &Workspace, arguments: &CompareArguments) -> anyhow::Result<()> {
    let machine = Machine::here(workspace)?;
    let path = baseline_path(&workspace.root, &machine);
    // The baseline is read first, so that a missing one is reported before minutes of measuring.
    let old = match arguments.save {
        true => None,
        false => Some(read(&path)?),
    };
    let mut best = measure(workspace, &arguments.kernels)?;
    anyhow::ensure!(!best.is_empty(), "no benchmark ran");
    let Some(old) = old else {
        for _ in 0..arguments.repeats {
            keep_best(&mut best, measure(workspace, &arguments.kernels)?);
        }
        let baseline = Baseline {
            processor: machine.processor,
            cores: machine.cores,
            date: machine.date,
            commit: machine.commit,
            benchmarks: best,
        };
        replace_file(&path, &(serde_json::to_string_pretty(&baseline)? + "\n"))?;
        eprintln!("baseline of {} benchmarks: {}", baseline.benchmarks.len(), path.display());
        return Ok(());
    };
    let tolerance = arguments.tolerance / 100.0;
    for _ in 0..arguments.repeats {
        let slower = slower(&old.benchmarks, &best, tolerance);
        if slower.is_empty() {
            break;
        }
        eprintln!(
            "{} of {} benchmarks seem slower and are measured again",
            slower.len(),
            best.len()
        );
        keep_best(&mut best, measure(workspace, &arguments.kernels.only(&slower))?);
    }
    eprintln!("compared with commit {} of {} ({})", old.commit, old.date, path.display());
    report(&old.benchmarks, &best, tolerance);
    let slower = slower(&old.benchmarks, &best, tolerance).len();
    anyhow::ensure!(slower == 0, "{slower} benchmarks are slower than the baseline");
    Ok(())
}

/// Runs the benchmarks and returns the best time of each.
fn measure(workspace: &Workspace, arguments: &KernelArguments) -> anyhow::Result<Times> {
    let begun = SystemTime::now();
    kernels::kernels(workspace, arguments)?;
    measured(&workspace.root.join("target/criterion"), begun)
}

/// Keeps the faster of two times for each benchmark.
fn keep_best(best: &mut Times, again: Times) {
    for (name, time) in again {
        let best = best.entry(name).or_insert(time);
        *best = best.min(time);
    }
}

/// The file with the baseline of a kind of machine.
fn baseline_path(root: &Path, machine: &Machine) -> PathBuf {
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
            "cannot read {}, the baseline of this kind of machine; \
             `cargo xtask bench compare --save` writes it",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a baseline", path.display()))
}

/// The best times that criterion has written below a folder since `begun`.
fn measured(folder: &Path, begun: SystemTime) -> anyhow::Result<Times> {
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
        let samples = folder.join("sample.json");
        let is_new = folder.file_name().is_some_and(|name| name == "new");
        if !is_new || !samples.is_file() {
            continue;
        }
        let changed = fs::metadata(&samples).and_then(|data| data.modified());
        if changed.with_context(failed)? >= begun {
            let about = json(&folder.join("benchmark.json"))?;
            let name = about["full_id"].as_str().with_context(failed)?.to_owned();
            let best = best(&json(&samples)?).with_context(failed)?;
            found.insert(name, best);
        }
    }
    Ok(found)
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// The least time of an iteration among criterion's samples.
fn best(samples: &Value) -> Option<f64> {
    let numbers = |key: &str| -> Option<Vec<f64>> {
        samples[key].as_array()?.iter().map(Value::as_f64).collect()
    };
    let each = numbers("times")?.into_iter().zip(numbers("iters")?);
    each.map(|(time, iterations)| time / iterations).reduce(f64::min)
}

/// Prints every benchmark with its change against the baseline.
fn report(old: &Times, new: &Times, tolerance: f64) {
    for (name, &new) in new {
        let verdict = match old.get(name) {
            None => "not in the baseline".into(),
            Some(&old) => {
                let change = 100.0 * (new / old - 1.0);
                let verdict = if is_slower(old, new, tolerance) {
                    "SLOWER"
                } else if is_slower(new, old, tolerance) {
                    "faster"
                } else {
                    "within the tolerance"
                };
                format!("{change:+.0} % {verdict}")
            }
        };
        eprintln!("{:>12.3} ms  {name}: {verdict}", new / 1e6);
    }
    // Either a filter left them out, or they no longer exist.
    let missing = old.keys().filter(|name| !new.contains_key(*name)).count();
    if missing > 0 {
        eprintln!("{missing} of the baseline's {} benchmarks did not run", old.len());
    }
}

/// The benchmarks whose time is above the baseline by more than the tolerance.
fn slower(old: &Times, new: &Times, tolerance: f64) -> Vec<String> {
    let is_slower =
        |name: &str, new: f64| old.get(name).is_some_and(|&old| is_slower(old, new, tolerance));
    let slower = new.iter().filter(|(name, new)| is_slower(name, **new));
    slower.map(|(name, _)| name.clone()).collect()
}

fn is_slower(old: f64, new: f64, tolerance: f64) -> bool {
    new > old * (1.0 + tolerance)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::machine::tests::machine;

    fn times(times: &[(&str, f64)]) -> Times {
        times.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
    }

    #[test]
    fn only_a_change_above_the_tolerance_is_slower() {
        let old = times(&[("a", 100.0), ("b", 100.0), ("gone", 1.0)]);
        let new = times(&[("a", 114.0), ("b", 116.0), ("new", 9.0)]);
        assert_eq!(slower(&old, &new, 0.15), ["b"]);
        assert!(slower(&new, &old, 0.0).is_empty());
    }

    #[test]
    fn the_best_time_of_several_measurements_is_kept() {
        let mut best = times(&[("a", 2.0), ("b", 2.0)]);
        keep_best(&mut best, times(&[("a", 1.0), ("b", 3.0), ("c", 4.0)]));
        assert_eq!(best, times(&[("a", 1.0), ("b", 2.0), ("c", 4.0)]));
    }

    #[test]
    fn only_new_files_of_criterion_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("scan/kernel/8/new");
        fs::create_dir_all(&new).unwrap();
        fs::create_dir_all(folder.path().join("scan/kernel/8/base")).unwrap();
        fs::write(new.join("benchmark.json"), r#"{"full_id": "scan/kernel/8"}"#).unwrap();
        let samples = r#"{"iters": [1.0, 2.0, 3.0], "times": [6.0, 8.0, 15.0]}"#;
        fs::write(new.join("sample.json"), samples).unwrap();
        let begun = SystemTime::now() - Duration::from_secs(60);
        let found = measured(folder.path(), begun).unwrap();
        assert_eq!(found, times(&[("scan/kernel/8", 4.0)]));
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(measured(folder.path(), later).unwrap().is_empty());
        fs::write(new.join("sample.json"), "{}").unwrap();
        assert!(measured(folder.path(), begun).is_err());
    }

    #[test]
    fn a_baseline_belongs_to_a_kind_of_machine() {
        let machine = Machine { processor: "Abacus(R) 9 @ 3 GHz, AVX2".into(), ..machine() };
        let folder = tempfile::tempdir().unwrap();
        let path = baseline_path(folder.path(), &machine);
        assert!(path.ends_with("benches/baselines/abacus-r-9-3-ghz-avx2-2-cores.json"));
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("bench compare --save"), "{error}");
    }
}
