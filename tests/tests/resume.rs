//! A run that is cut off and resumed ends with the same bits as one that is not.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lasnn_tests::Workplace;
use lasnn_tests::recipe::{TINY, tiny_with};
use lasnn_tests::workplace::{Outcome, numbers, send, tensors};
use serde_json::Value;

/// Long enough for kills in each stage, short enough for a test: three times six epochs.
fn long() -> String {
    let recipe = tiny_with("train = 112", "train = 528");
    recipe.replace("epochs = 3", "epochs = 6")
}

/// When to kill: as soon as so many of the 18 epochs are in the metrics, and so many milliseconds
/// later. Epochs 6 and 12 are the last ones of the teacher and of the intermediate network, so kills
/// fall into measuring, converting and the change of stages too.
const KILLS: [(usize, u64); 12] = [
    (0, 3),
    (0, 50),
    (1, 0),
    (3, 9),
    (6, 0),
    (6, 4),
    (7, 15),
    (11, 1),
    (12, 0),
    (12, 6),
    (13, 12),
    (16, 2),
];

#[test]
fn a_run_killed_at_many_moments_ends_with_the_same_bits() {
    let whole = Workplace::new();
    whole.write("tiny.toml", &long());
    whole.succeed(&["run", "tiny.toml", "--quiet"]);

    let cut = Workplace::new();
    cut.write("tiny.toml", &long());
    for (epochs, milliseconds) in KILLS {
        let mut run = start_run(&cut, &["run", "tiny.toml", "--resume", "--quiet"]);
        wait_for(&mut run, || epochs_done(&cut) >= epochs);
        std::thread::sleep(Duration::from_millis(milliseconds));
        // `Child::kill` sends SIGKILL.
        run.kill().unwrap();
        let status = run.wait().unwrap();
        assert!(!status.success(), "the run had ended before it was killed at epoch {epochs}");
    }
    cut.succeed(&["run", "tiny.toml", "--resume", "--quiet"]);
    same_results(&whole, &cut);
}

#[test]
fn an_interrupted_run_saves_says_so_and_goes_on() {
    let whole = Workplace::new();
    whole.write("tiny.toml", &long());
    whole.succeed(&["run", "tiny.toml", "--quiet"]);

    let cut = Workplace::new();
    cut.write("tiny.toml", &long());
    let mut run = start_run(&cut, &["run", "tiny.toml"]);
    wait_for(&mut run, || epochs_done(&cut) >= 1);
    send("INT", &run);
    let outcome = Outcome::of(run.wait_with_output().unwrap());
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("--resume"), "{outcome:#?}");

    let folder = cut.only_run("tiny");
    assert!(!folder.join("summary.json").exists(), "the run has not ended");
    assert!(holds_files(&folder.join("checkpoints")), "no checkpoint was saved");

    let resumed = cut.succeed(&["run", "tiny.toml", "--resume"]);
    assert!(resumed.stderr.contains("teacher: epoch 6/6"), "{resumed:#?}");
    assert!(!resumed.stderr.contains("teacher: epoch 1/6"), "it began again: {resumed:#?}");
    same_results(&whole, &cut);
}

#[test]
fn resuming_where_nothing_is_unfinished_begins_a_run() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["run", "tiny.toml", "--resume", "--quiet"]);
    place.succeed(&["run", "tiny.toml", "--resume", "--quiet"]);
    assert_eq!(place.runs("tiny").len(), 2);
}

#[test]
fn a_run_of_another_recipe_is_not_resumed() {
    let place = Workplace::new();
    place.write("tiny.toml", &long());
    let mut run = start_run(&place, &["run", "tiny.toml", "--quiet"]);
    wait_for(&mut run, || !place.runs("tiny").is_empty());
    run.kill().unwrap();
    run.wait().unwrap();

    place.write("tiny.toml", &long().replace("seed = 3", "seed = 4"));
    let summary = place.json(&["run", "tiny.toml", "--resume"]);
    assert_eq!(place.runs("tiny").len(), 2);
    assert_eq!(summary["seed"], 4);
    assert_eq!(summary["stages"]["teacher"]["epochs"], 6);
}

#[test]
fn a_run_that_does_not_fit_is_told_with_what_differs() {
    let place = Workplace::new();
    place.write("tiny.toml", &long());
    let mut run = start_run(&place, &["run", "tiny.toml", "--quiet"]);
    let begun = || place.runs("tiny").iter().any(|run| run.join("recipe.toml").is_file());
    wait_for(&mut run, begun);
    run.kill().unwrap();
    run.wait().unwrap();
    let folder = place.only_run("tiny");

    place.write("tiny.toml", &long().replace("learning_rate = 0.05", "learning_rate = 0.06"));
    // The folder may follow the flag after a space or after `=`.
    for resume in [
        vec!["--resume".to_owned(), folder.to_string_lossy().into_owned()],
        vec![format!("--resume={}", folder.display())],
    ] {
        let resume: Vec<&str> = resume.iter().map(String::as_str).collect();
        let outcome = place.run(&[&["run", "tiny.toml"], &resume[..]].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let differs = "`teacher.train.optimizer.learning_rate` is 0.05 there and 0.06 here";
        assert!(outcome.stderr.contains(differs), "{outcome:#?}");
        assert!(outcome.stderr.contains("leave --resume out"), "{outcome:#?}");
    }
    place.write("tiny.toml", &long());
    place.succeed(&["run", "tiny.toml", "--quiet", "--resume", &folder.to_string_lossy()]);
    assert!(folder.join("summary.json").is_file());
}

/// One run each, with the same summary, the same losses of every epoch and the same weights.
#[track_caller]
fn same_results(whole: &Workplace, cut: &Workplace) {
    assert_eq!(numbers(whole.summary("tiny")), numbers(cut.summary("tiny")));
    let (whole, cut) = (whole.only_run("tiny"), cut.only_run("tiny"));
    assert_eq!(metrics(&whole), metrics(&cut));
    for stage in ["teacher", "intermediate", "converted", "student"] {
        let read = |run: &Path| tensors(&run.join(format!("checkpoints/{stage}.safetensors")));
        assert!(read(&whole) == read(&cut), "the weights of {stage} differ");
    }
}

/// Every line of the metrics without its wall time.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().retain(|key, _| !key.contains("second"));
        line
    };
    text.lines().map(line).collect()
}

fn start_run(place: &Workplace, arguments: &[&str]) -> Child {
    let mut command = place.lasnn(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until `condition` holds while `run` goes on.
#[track_caller]
fn wait_for(run: &mut Child, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "waited a minute in vain");
        assert!(run.try_wait().unwrap().is_none(), "the run ended too early");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many epochs are in the metrics of the only run.
fn epochs_done(place: &Workplace) -> usize {
    let metrics = |run: &PathBuf| fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    place.runs("tiny").iter().map(|run| metrics(run).lines().count()).max().unwrap_or(0)
}

fn holds_files(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        path.is_file() || holds_files(&path)
    })
}
