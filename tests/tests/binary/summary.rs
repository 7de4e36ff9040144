//! `summary.json` fits docs/summary.schema.json, and its numbers mean what docs/summary.md says.

use std::sync::OnceLock;

use jsonschema::Validator;
use lasnn_tests::Sandbox;
use lasnn_tests::outputs::read_json;
use lasnn_tests::recipe::{TINY, tiny_with};
use serde_json::Value;

/// The summary of a run with all stages, also the control without distillation.
fn summary() -> &'static Value {
    static SUMMARY: OnceLock<Value> = OnceLock::new();
    SUMMARY.get_or_init(|| {
        let recipe = tiny_with("[student]\n", "[student]\nwithout_distillation = true\n");
        let sandbox = Sandbox::with("tiny.toml", &recipe);
        sandbox.succeed(&["run", "tiny.toml", "--quiet"]);
        sandbox.summary("tiny")
    })
}

#[test]
fn the_summary_of_a_run_fits_the_schema_and_is_consistent() {
    let summary = summary();
    assert_fits(summary);
    assert_eq!(summary["recipe"], "tiny");
    assert_eq!(summary["seed"], 3);
    assert_eq!(summary["backend"], "flex");
    assert_eq!(summary["threads"], 1);
    let dataset = &summary["dataset"];
    assert_eq!(
        (&dataset["train"], &dataset["validation"], &dataset["test"]),
        (&64.into(), &16.into(), &24.into())
    );

    let stages = summary["stages"].as_object().unwrap();
    let trained = ["teacher", "intermediate", "student", "student_without_distillation"];
    for stage in trained {
        assert_eq!(stages[stage]["epochs"], 1, "{stage}");
    }
    assert_eq!(stages["conversion"]["epochs"], 0);
    assert_eq!(stages.len(), 5);
    for (name, stage) in stages {
        let classes = stage["accuracy_by_class"].as_array().unwrap();
        assert_eq!(classes.len(), 4, "{name}");
        let images: f64 = classes.iter().map(|class| class["images"].as_f64().unwrap()).sum();
        let correct: f64 = classes
            .iter()
            .map(|class| class["images"].as_f64().unwrap() * class["accuracy"].as_f64().unwrap())
            .sum();
        assert_eq!(images, 24.0, "{name}");
        let accuracy = stage["test_accuracy"].as_f64().unwrap();
        assert!((correct / images - accuracy).abs() < 1e-9, "{name}: {correct} of {images}");
    }
    for stage in ["conversion", "student", "student_without_distillation"] {
        assert_consistent(&stages[stage]);
    }
}

#[test]
fn the_summary_of_one_stage_fits_the_schema_too() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let summary = sandbox.summary("tiny");
    assert_fits(&summary);
    assert_eq!(summary["stages"].as_object().unwrap().len(), 1);
}

/// A schema that accepts everything would make the other tests useless.
#[test]
fn the_schema_refuses_other_files() {
    let refused = |change: fn(&mut Value)| {
        let mut summary = summary().clone();
        change(&mut summary);
        !schema().is_valid(&summary)
    };
    assert!(!refused(|_| {}));
    assert!(refused(|summary| summary["surprise"] = 1.into()));
    assert!(refused(|summary| summary["stages"]["student"]["surprise"] = 1.into()));
    assert!(refused(|summary| summary["stages"]["teacher"]["time_steps"] = 1.into()));
    assert!(refused(|summary| summary["stages"]["student"]["test_accuracy"] = 1.01.into()));
    assert!(refused(|summary| summary["dataset"]["sha256"] = "abc".into()));
    assert!(refused(|summary| summary["backend"] = "torch".into()));
    assert!(refused(|summary| summary["stages"]["longer"] = 1.into()));
    assert!(refused(|summary| {
        let student = summary["stages"]["student"].clone();
        summary["stages"]["a/b"] = student;
    }));
    assert!(!refused(|summary| {
        let student = summary["stages"]["student"].clone();
        summary["stages"]["longer"] = student;
    }));
    assert!(refused(|summary| {
        summary["stages"]["conversion"].as_object_mut().unwrap().remove("synops_per_image");
    }));
}

/// Checks the numbers of a spiking stage against each other and against counts by hand.
#[track_caller]
fn assert_consistent(stage: &Value) {
    let number = |key: &str| stage[key].as_f64().unwrap();
    let by_step = stage["accuracy_by_step"].as_array().unwrap();
    assert_eq!(by_step.len() as f64, number("time_steps"));
    assert_eq!(by_step.last().unwrap(), &stage["test_accuracy"]);
    // The neurons of TINY's student, layer by layer: feature maps of 8x8 and, after a pooling, of
    // 4x4, then a linear layer.
    let neurons = [6.0 * 64.0, 8.0 * 16.0, 8.0 * 16.0, 12.0];
    let rates = stage["firing_rate_by_layer"].as_array().unwrap();
    assert_eq!(rates.len(), neurons.len());
    let spikes: f64 = rates
        .iter()
        .zip(neurons)
        .map(|(entry, neurons)| entry["rate"].as_f64().unwrap() * neurons * number("time_steps"))
        .sum();
    assert!(spikes > 0.0, "a silent network tests nothing");
    assert!((spikes / number("spikes_per_image") - 1.0).abs() < 1e-9, "{spikes} {stage}");
    // With Poisson encoding all operations are additions, of 0.9 pJ each.
    let energy = 0.9 * number("synops_per_image");
    assert!((energy / number("energy_pj_per_image") - 1.0).abs() < 1e-9, "{energy} {stage}");
    // Multiply-accumulates of the ANN, of 4.6 pJ each. A 3x3 kernel meets 22 * 22 pairs of weight
    // and pixel on an 8x8 feature map with padding, and 10 * 10 on a 4x4 one. The last two layers
    // are matrix products.
    let macs = 484 * 6 + 100 * 6 * 8 + 100 * 8 * 8 + 128 * 12 + 12 * 4;
    let ann = 4.6 * f64::from(macs);
    assert!((ann / number("ann_energy_pj_per_image") - 1.0).abs() < 1e-9, "{ann} {stage}");
}

/// Checks a summary against the schema.
#[track_caller]
pub fn assert_fits(summary: &Value) {
    let schema = schema();
    let errors: Vec<_> = schema
        .iter_errors(summary)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{summary:#}");
}

fn schema() -> Validator {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/summary.schema.json");
    jsonschema::validator_for(&read_json(path.as_ref())).unwrap()
}
