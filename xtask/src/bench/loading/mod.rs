//! `cargo xtask bench loading`: our data loader compared with torchvision's, on the same files.
//!
//! First, both sides load some images, which must be equal. Then torchvision is tried in all of its
//! settings. Then whole processes take turns. The first epoch of a process is not counted, because
//! it reads the files into memory. Training steps, timed in the same run, tell how many images per
//! second training needs.

mod row;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::de::DeserializeOwned;

use self::row::{Need, Report, Row};
use super::destination::DestinationArguments;
use super::environment::{Environment, build};
use super::machine::{self, Machine};
use super::statistics::{median, ratios};
use crate::workspace::{Workspace, replace_file, run_for_output};

#[derive(clap::Args)]
pub struct LoadingArguments {
    /// The folder that contains `cifar-10-batches-bin`
    #[arg(long, value_name = "DIR", default_value = "data")]
    data_dir: PathBuf,
    /// How many rounds a comparison has; both sides are timed once in each
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Images of an epoch
    #[arg(long, value_name = "N", default_value_t = 12_800)]
    images: usize,
    #[command(flatten)]
    destination: DestinationArguments,
}

/// Image files that both sides read.
struct Case {
    name: &'static str,
    /// The kind of folder that `loading.py` makes out of CIFAR-10; none for CIFAR-10's own files.
    layout: Option<&'static str>,
    /// Height and width of an image.
    size: usize,
    /// How much the mean of an image may differ, since JPEG decoders round differently.
    tolerance: f64,
}

const CASES: [Case; 3] = [
    Case { name: "CIFAR-10, binary files", layout: None, size: 32, tolerance: 1e-5 },
    Case { name: "a folder of PNG, 32x32", layout: Some("png32"), size: 32, tolerance: 1e-5 },
    Case { name: "a folder of JPEG, 64x64", layout: Some("jpeg64"), size: 64, tolerance: 1e-2 },
];

/// Epochs of a process. The first one is not counted.
const EPOCHS: usize = 3;

/// Images that are compared before loading is timed.
const CHECKED: usize = 256;

/// The networks that train the fastest, and their number formats.
const TRAINERS: [(&str, &str); 4] =
    [("vgg5", "f32"), ("vgg5", "bf16"), ("teacher-resnet20", "f32"), ("teacher-resnet20", "bf16")];

/// The programs of both sides.
struct Bench<'a> {
    arguments: &'a LoadingArguments,
    environment: Environment,
    ours: PathBuf,
}

pub fn loading(workspace: &Workspace, arguments: &LoadingArguments) -> anyhow::Result<()> {
    let machine = Machine::here(workspace)?;
    let destination = arguments.destination.new_folder(&workspace.root, "loading", &machine)?;
    let ours = build(workspace, "load-epoch")?;
    let trainer = build(workspace, "ann-step")?;
    let bench = Bench { arguments, environment: Environment::prepare(workspace)?, ours };
    let need = need(&trainer)?;
    let mut rows = Vec::new();
    for case in &CASES {
        rows.extend(bench.compare(case)?);
    }
    let report = Report {
        machine: machine.kind(),
        date: machine.date,
        commit: machine.commit,
        command: command(arguments),
        need,
        rows,
    };
    destination.create()?;
    let path = |name| destination.path.join(name);
    replace_file(&path("loading.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    replace_file(&path("README.md"), &table::readme(&report))?;
    eprintln!("wrote {}", path("README.md").display());
    Ok(())
}

/// The command as a reader would type it, with DIR for a folder that has other names elsewhere.
fn command(arguments: &LoadingArguments) -> String {
    let mut command = format!(
        "cargo xtask bench loading --data-dir DIR --rounds {} --images {}",
        arguments.rounds, arguments.images
    );
    if let Some(suffix) = &arguments.destination.suffix {
        command.push_str(&format!(" --suffix {suffix}"));
    }
    if arguments.destination.scratch {
        command.push_str(" --scratch");
    }
    command
}

/// The most images per second that one of our training steps consumes.
fn need(trainer: &Path) -> anyhow::Result<Need> {
    let batch = 64;
    let mut needs = Vec::new();
    for (network, format) in TRAINERS {
        let mut command = Command::new(trainer);
        command.args(["--network", network, "--format", format, "--batch", &batch.to_string()]);
        command.args(["--steps", "9", "--threads", &machine::cores().to_string()]);
        let line: serde_json::Value = parse(command)?;
        let ms = line["median_ms"].as_f64().context("ann-step printed no median_ms")?;
        let images_per_s = 1e3 * f64::from(batch) / ms;
        needs.push(Need { network: network.into(), format: format.into(), images_per_s });
    }
    let most = needs.into_iter().max_by(|a, b| a.images_per_s.total_cmp(&b.images_per_s));
    most.context("no training step was timed")
}

impl Bench<'_> {
    /// One row for each number of threads.
    fn compare(&self, case: &Case) -> anyhow::Result<Vec<Row>> {
        eprintln!("{}", case.name);
        let files = self.files(case)?;
        let settings = self.check(case, &files)?;
        let mut rows = Vec::new();
        for threads in [1, 2] {
            // With one thread, torchvision loads in the process itself or in one worker.
            let workers = if threads == 1 { vec![0, 1] } else { vec![2] };
            let mut tried = Vec::new();
            for setting in &settings {
                for &workers in &workers {
                    let speed = self.theirs(case, &files, setting, workers)?;
                    tried.push(((setting.as_str(), workers), speed));
                }
            }
            let fastest = tried.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let ((setting, workers), _) = *fastest.context("torchvision has no settings")?;
            let (mut ours, mut theirs, mut prepared) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.arguments.rounds.max(1) {
                let (speed, preparation) = self.ours(case, &files, threads)?;
                ours.push(speed);
                prepared.push(preparation);
                theirs.push(self.theirs(case, &files, setting, workers)?);
            }
            let seconds =
                |speeds: &[f64]| speeds.iter().map(|speed| 1.0 / speed).collect::<Vec<_>>();
            let found = ratios(&seconds(&ours), &seconds(&theirs));
            let row = Row {
                files: case.name.into(),
                threads,
                rounds: ours.len(),
                ours_images_per_s: median(&ours),
                ours_prepared_per_s: median(&prepared),
                setting: setting_name(setting, workers),
                settings_images_per_s: tried
                    .iter()
                    .map(|&((setting, workers), speed)| (setting_name(setting, workers), speed))
                    .collect(),
                peer_images_per_s: median(&theirs),
                ratio_median: found.median,
                ratio_min: found.min,
                ratio_max: found.max,
            };
            eprintln!(
                "    {threads} threads: {:.0} images/s against {:.0}, {:.1}x",
                row.ours_images_per_s, row.peer_images_per_s, row.ratio_median
            );
            rows.push(row);
        }
        Ok(rows)
    }

    /// The folder that both sides read. `loading.py` makes it if it does not exist.
    fn files(&self, case: &Case) -> anyhow::Result<PathBuf> {
        let Some(layout) = case.layout else { return Ok(self.arguments.data_dir.clone()) };
        let folder = self.environment.scratch.join("loading").join(layout);
        let mut make = self.environment.script("loading.py");
        make.args(["make", "--layout", layout, "--data-dir"]).arg(&self.arguments.data_dir);
        make.arg("--out").arg(&folder);
        run_for_output(make)?;
        Ok(folder)
    }

    /// The settings of torchvision.
    ///
    /// # Errors
    ///
    /// If one of them loads other images than our loader.
    fn check(&self, case: &Case, files: &Path) -> anyhow::Result<Vec<String>> {
        let check = ["--check".to_owned(), CHECKED.to_string()];
        let mut command = self.our_command(case, files, 1)?;
        command.args(&check);
        let ours: Vec<(u32, f64, f64)> = parse(command)?;
        let mut list = self.environment.script("loading.py");
        list.arg("settings");
        let settings: Vec<String> = run_for_output(list)?.lines().map(str::to_owned).collect();
        for setting in &settings {
            let mut command = self.their_command(case, files, setting, 0);
            command.args(&check);
            let theirs: Vec<(u32, f64, f64)> = parse(command)?;
            require_equal(&ours, &theirs, case.tolerance)
                .with_context(|| format!("{}: our loader and {setting}", case.name))?;
        }
        Ok(settings)
    }

    /// Our images per second in an epoch, and in the preparation before the first epoch.
    fn ours(&self, case: &Case, files: &Path, threads: usize) -> anyhow::Result<(f64, f64)> {
        let cache = self.cache();
        if cache.exists() {
            fs::remove_dir_all(&cache)
                .with_context(|| format!("cannot empty {}", cache.display()))?;
        }
        let times: Times = parse(self.our_command(case, files, threads)?)?;
        Ok((times.speed(self.arguments.images), times.prepared as f64 / times.preparation))
    }

    fn theirs(
        &self,
        case: &Case,
        files: &Path,
        setting: &str,
        workers: usize,
    ) -> anyhow::Result<f64> {
        let times: Times = parse(self.their_command(case, files, setting, workers))?;
        Ok(times.speed(self.arguments.images))
    }

    fn cache(&self) -> PathBuf {
        self.environment.scratch.join("loading/packed")
    }

    fn our_command(&self, case: &Case, files: &Path, threads: usize) -> anyhow::Result<Command> {
        let cache = self.cache();
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // `load-epoch` looks for relative paths below the data directory.
        let files =
            fs::canonicalize(files).with_context(|| format!("cannot find {}", files.display()))?;
        let mut command = Command::new(&self.ours);
        command.arg("--cache").arg(cache).args(["--threads", &threads.to_string()]);
        self.with_case(&mut command, case, &files);
        Ok(command)
    }

    fn their_command(&self, case: &Case, files: &Path, setting: &str, workers: usize) -> Command {
        let mut command = self.environment.script("loading.py");
        command.args(["epochs", "--setting", setting, "--workers", &workers.to_string()]);
        self.with_case(&mut command, case, files);
        command
    }

    fn with_case(&self, command: &mut Command, case: &Case, files: &Path) {
        let source = if case.layout.is_some() { "folder" } else { "cifar10" };
        command.args(["--source", source, "--path"]).arg(files);
        command.args(["--size", &case.size.to_string(), "--epochs", &EPOCHS.to_string()]);
        command.args(["--images", &self.arguments.images.to_string()]);
    }
}

/// The times that both programs print.
#[derive(serde::Deserialize)]
struct Times {
    preparation: f64,
    prepared: usize,
    epochs: Vec<f64>,
}

impl Times {
    /// Images per second in the median epoch, without the first one.
    fn speed(&self, images: usize) -> f64 {
        images as f64 / median(self.epochs.get(1..).unwrap_or_default())
    }
}

/// Checks that the labels of all images are equal and their means nearly equal.
fn require_equal(
    ours: &[(u32, f64, f64)],
    theirs: &[(u32, f64, f64)],
    tolerance: f64,
) -> anyhow::Result<()> {
    anyhow::ensure!(ours.len() == theirs.len(), "{} and {} images", ours.len(), theirs.len());
    for (image, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance;
        anyhow::ensure!(
            ours.0 == theirs.0 && near(ours.1, theirs.1) && near(ours.2, theirs.2),
            "image {image} is (label, mean, weighted mean) {ours:?} and {theirs:?}"
        );
    }
    Ok(())
}

fn setting_name(setting: &str, workers: usize) -> String {
    match workers {
        0 => format!("{setting}, no worker"),
        1 => format!("{setting}, 1 worker"),
        _ => format!("{setting}, {workers} workers"),
    }
}

/// Runs a program and reads the last line of its output as JSON.
fn parse<T: DeserializeOwned>(command: Command) -> anyhow::Result<T> {
    let text = run_for_output(command)?;
    let line = text.lines().last().context("a program printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("a program printed `{line}`, expected JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_epoch_is_not_counted() {
        let times = Times { preparation: 1.0, prepared: 10, epochs: vec![9.0, 0.5, 0.5] };
        assert_eq!(times.speed(100), 200.0);
    }

    #[test]
    fn images_that_differ_are_found() {
        let one = [(3, 0.5, 0.25)];
        assert!(require_equal(&one, &[(3, 0.505, 0.25)], 1e-2).is_ok());
        for other in [(4, 0.5, 0.25), (3, 0.52, 0.25), (3, 0.5, 0.27), (3, f64::NAN, 0.25)] {
            assert!(require_equal(&one, &[other], 1e-2).is_err(), "{other:?}");
        }
        assert!(require_equal(&one, &[], 1e-2).is_err());
    }
}
