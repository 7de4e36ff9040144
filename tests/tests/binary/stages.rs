//! Stages one by one, and which of them a run trains again.

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::numbers;
use lasnn_tests::recipe::{TINY, tiny_with};
use serde_json::Value;

#[track_caller]
fn assert_reused(summary: &Value, stages: &[(&str, bool)]) {
    for &(stage, reused) in stages {
        assert_eq!(summary["stages"][stage]["reused"], reused, "{stage}");
    }
}

#[test]
fn a_change_of_stage_3_trains_stage_3_only() {
    let only_stage_3 = [("teacher", true), ("intermediate", true), ("student", false)];
    let sandbox = Sandbox::with("tiny.toml", TINY);
    let first = sandbox.json(&["run", "tiny.toml"]);
    assert_reused(&first, &only_stage_3.map(|(stage, _)| (stage, false)));

    let adam = "kind = \"adam\", learning_rate = 1e-3";
    sandbox.write("tiny.toml", &tiny_with(adam, "kind = \"adam\", learning_rate = 5e-2"));
    let second = sandbox.json(&["run", "tiny.toml"]);
    assert_reused(&second, &only_stage_3);
    for stage in ["teacher", "intermediate", "conversion"] {
        let stage_of = |summary: &Value| numbers(summary.clone())["stages"][stage].clone();
        assert_eq!(stage_of(&first), stage_of(&second), "{stage}");
    }
    let spikes = |summary: &Value| summary["stages"]["student"]["spikes_per_image"].clone();
    assert_ne!(spikes(&first), spikes(&second));

    sandbox.write("tiny.toml", &tiny_with("[student]\n", "[student]\ntrain_limit = 40\n"));
    let third = sandbox.json(&["run", "tiny.toml"]);
    assert_reused(&third, &only_stage_3);
    assert_ne!(spikes(&first), spikes(&third));
}

/// Every later stage follows from the teacher's data too, so the first stage is enough to see it.
#[test]
fn a_change_of_the_data_trains_again() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    assert_reused(&sandbox.json(&["train", "teacher", "tiny.toml"]), &[("teacher", true)]);
    sandbox.write("tiny.toml", &tiny_with("test = 24", "test = 24, seed = 1"));
    assert_reused(&sandbox.json(&["train", "teacher", "tiny.toml"]), &[("teacher", false)]);
}

#[test]
fn each_stage_runs_alone_and_feeds_the_next() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    sandbox.succeed(&["train", "intermediate", "tiny.toml", "--quiet"]);
    let table = sandbox.succeed(&["convert", "tiny.toml"]).stdout.to_lowercase();
    for column in ["threshold", "rate", "dead", "saturated", "correlation"] {
        assert!(table.contains(column), "no column `{column}` in the table:\n{table}");
    }
    let alone = sandbox.json(&["distill", "tiny.toml"]);
    assert_reused(
        &alone,
        &[("teacher", true), ("intermediate", true), ("conversion", true), ("student", false)],
    );

    let together = sandbox.json(&["run", "tiny.toml", "--no-cache"]);
    let student = |summary: Value| numbers(summary)["stages"]["student"].clone();
    assert_eq!(student(alone), student(together));
}

#[test]
fn eval_repeats_the_accuracies_of_the_run() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    let stages = &sandbox.json(&["run", "tiny.toml"])["stages"];
    for (stage, key) in
        [("teacher", "teacher"), ("converted", "conversion"), ("student", "student")]
    {
        let measured = sandbox.json(&["eval", "tiny.toml", "--stage", stage]);
        assert_eq!(measured["test_accuracy"], stages[key]["test_accuracy"], "{stage}");
        assert_eq!(measured["accuracy_by_class"], stages[key]["accuracy_by_class"], "{stage}");
    }
}
