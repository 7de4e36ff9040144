//! `lasnn run`: its files, its output, and whether its numbers repeat.

use std::fs;

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::{numbers, tensors};
use lasnn_tests::recipe::{TINY, tiny_with};
use serde_json::Value;

#[test]
fn a_recipe_runs_all_stages_and_leaves_its_files() {
    let recipe = TINY.replace("epochs = 1", "epochs = 2");
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    let table = sandbox.succeed(&["run", "tiny.toml"]).stdout.to_lowercase();
    for row in ["teacher", "intermediate", "converted", "distilled"] {
        assert!(table.contains(row), "no row `{row}` in the table:\n{table}");
    }

    let run = sandbox.only_run("tiny");
    for file in ["recipe.toml", "metrics.jsonl", "log.txt", "summary.json"] {
        assert!(run.join(file).is_file(), "no {file}");
    }
    for stage in ["teacher", "intermediate", "converted", "student"] {
        let file = run.join("checkpoints").join(format!("{stage}.safetensors"));
        assert!(file.is_file(), "no {}", file.display());
    }

    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<_> = lines
        .iter()
        .map(|line| (line["stage"].as_str().unwrap(), line["epoch"].as_u64().unwrap()))
        .collect();
    let stages = ["teacher", "intermediate", "student"];
    let expected: Vec<_> = stages.into_iter().flat_map(|stage| [(stage, 0), (stage, 1)]).collect();
    assert_eq!(epochs, expected);
    for (line, stage) in lines.iter().zip(stages.into_iter().flat_map(|stage| [stage; 2])) {
        let losses: Vec<&String> = line["loss_parts"].as_object().unwrap().keys().collect();
        let distilled = ["attention_high", "attention_low", "attention_middle", "cross_entropy"];
        let expected = if stage == "student" { &distilled[..] } else { &["cross_entropy"] };
        assert_eq!(losses, expected, "{stage}");
    }
}

/// Without a terminal a long training prints a few of its epochs. The files have all of them.
#[test]
fn a_stage_prints_at_most_ten_lines() {
    let recipe = tiny_with("time_steps = [3, 9]", "time_steps = [3, 4, 5, 7, 8, 9, 10, 11, 12]");
    let sandbox = Sandbox::with("tiny.toml", &recipe.replace("epochs = 1", "epochs = 12"));
    let outcome = sandbox.succeed(&["run", "tiny.toml"]);
    let lines = |stage: &str| -> Vec<&str> {
        let prefix = format!("{stage}: ");
        outcome.stderr.lines().filter(|line| line.starts_with(&prefix)).collect()
    };
    for stage in ["teacher", "intermediate", "student"] {
        let lines = lines(stage);
        assert!((4..=10).contains(&lines.len()), "{lines:#?}");
        assert!(lines[0].contains("epoch 1/12"), "{lines:#?}");
        assert!(lines[lines.len() - 2].contains("epoch 12/12"), "{lines:#?}");
        assert!(lines[lines.len() - 1].contains("of the test images"), "{lines:#?}");
    }
    let converted = lines("converted");
    assert!((4..=10).contains(&converted.len()), "{converted:#?}");

    let run = sandbox.only_run("tiny");
    let read = |file: &str| fs::read_to_string(run.join(file)).unwrap();
    assert_eq!(read("metrics.jsonl").lines().count(), 3 * 12);
    for epoch in 1..=12 {
        let named = read("log.txt").matches(&format!("epoch {epoch}/12")).count();
        assert_eq!(named, 3, "epoch {epoch} in the log");
    }
}

/// Several epochs, since the state of an optimiser or of a schedule must not leak from one run into
/// the numbers of the next one.
#[test]
fn the_same_recipe_gives_the_same_numbers_and_another_seed_does_not() {
    let run = |arguments: &[&str], checkpoint: &str| {
        let recipe = TINY.replace("epochs = 1", "epochs = 2");
        let sandbox = Sandbox::with("tiny.toml", &recipe);
        sandbox.succeed(&[arguments, &["tiny.toml", "--quiet"]].concat());
        let weights = |stage: &str| {
            tensors(&sandbox.only_run("tiny").join(format!("checkpoints/{stage}.safetensors")))
        };
        (numbers(sandbox.summary("tiny")), weights("teacher"), weights(checkpoint))
    };
    let first = run(&["run"], "student");
    let second = run(&["run"], "student");
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "the teachers differ");
    assert!(first.2 == second.2, "the students differ");

    // The seed of the first stage is the seed of all.
    let other = run(&["train", "teacher", "--seed", "4"], "teacher");
    assert_eq!(other.0["seed"], 4);
    assert!(first.1 != other.1, "another seed gives the same weights");
}

/// The resolved recipe in the folder of a run is a recipe too and describes the same experiment.
#[test]
fn the_resolved_recipe_runs_again() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["run", "tiny.toml", "--quiet"]);
    let first = numbers(sandbox.summary("tiny"));
    let resolved = sandbox.only_run("tiny").join("recipe.toml");
    let second = sandbox.json(&["run", &resolved.to_string_lossy(), "--no-cache"]);
    assert_eq!(sandbox.runs("tiny").len(), 2);
    assert_eq!(second["stages"]["teacher"]["reused"], false);
    assert_eq!(numbers(second), first);
}

#[test]
fn with_json_the_standard_output_is_json_and_nothing_else() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    let printed = sandbox.json(&["run", "tiny.toml"]);
    assert_eq!(printed, sandbox.summary("tiny"));
    let info = sandbox.json(&["data", "info", "tiny.toml", "--sheet", "sheet.png"]);
    assert_eq!(info["test"]["images"], 24);
    let sheet = fs::read(sandbox.path().join("sheet.png")).unwrap();
    assert!(sheet.starts_with(b"\x89PNG"), "{} bytes, but no PNG", sheet.len());
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let recipe = tiny_with("learning_rate = 0.2", "learning_rate = 1e30");
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    sandbox.fail(&["run", "tiny.toml"], 1, &["step", "not finite", "learning_rate"]);
}
