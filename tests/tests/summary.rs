//! `summary.json` is what docs/summary.schema.json says, and means what docs/summary.md says.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use jsonschema::Validator;
use lasnn_tests::Workplace;
use lasnn_tests::recipe::{TINY, tiny_with};
use lasnn_tests::workplace::read_json;
use serde_json::Value;

#[test]
fn a_runs_summary_fits_the_schema() {
    let (place, summary) =
        run(&tiny_with("[student]\n", "[student]\nwithout_distillation = true\n"));
    fits(&summary);
    drop(place);

    assert_eq!(summary["recipe"], "tiny");
    assert_eq!(summary["seed"], 3);
    assert_eq!(summary["backend"], "flex");
    assert_eq!(summary["threads"], 1);
    let dataset = &summary["dataset"];
    assert_eq!(
        (&dataset["train"], &dataset["validation"], &dataset["test"]),
        (&96.into(), &16.into(), &40.into())
    );

    let stages = summary["stages"].as_object().unwrap();
    let trained = ["teacher", "intermediate", "student", "student_without_distillation"];
    for stage in trained {
        assert_eq!(stages[stage]["epochs"], 3, "{stage}");
    }
    assert_eq!(stages["conversion"]["epochs"], 0);
    for (name, stage) in stages {
        let classes = stage["accuracy_by_class"].as_array().unwrap();
        assert_eq!(classes.len(), 4, "{name}");
        let images: f64 = classes.iter().map(|class| class["images"].as_f64().unwrap()).sum();
        let correct: f64 = classes
            .iter()
            .map(|class| class["images"].as_f64().unwrap() * class["accuracy"].as_f64().unwrap())
            .sum();
        assert_eq!(images, 40.0, "{name}");
        let accuracy = stage["test_accuracy"].as_f64().unwrap();
        assert!((correct / images - accuracy).abs() < 1e-9, "{name}: {correct} of {images}");
    }
    for stage in ["conversion", "student", "student_without_distillation"] {
        means_what_it_says(&stages[stage]);
    }
}

#[test]
fn the_summary_of_one_stage_fits_the_schema_too() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let summary = place.summary("tiny");
    fits(&summary);
    assert_eq!(summary["stages"].as_object().unwrap().len(), 1);
}

/// A schema that takes everything would hold nothing.
#[test]
fn the_schema_refuses_what_is_not_a_summary() {
    let (_place, summary) = run(TINY);
    let refused = |change: fn(&mut Value)| {
        let mut summary = summary.clone();
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
    assert!(refused(|summary| {
        summary["stages"]["conversion"].as_object_mut().unwrap().remove("synops_per_image");
    }));
}

fn means_what_it_says(stage: &Value) {
    let number = |key: &str| stage[key].as_f64().unwrap();
    let by_step = stage["accuracy_by_step"].as_array().unwrap();
    assert_eq!(by_step.len() as f64, number("time_steps"));
    assert_eq!(by_step.last().unwrap(), &stage["test_accuracy"]);
    // Neurons of TINY's student in the order of the signal: two maps of 8x8 and 4x4, and so on.
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
    // With Poisson encoding there is nothing but additions.
    let energy = 0.9 * number("synops_per_image");
    assert!((energy / number("energy_pj_per_image") - 1.0).abs() < 1e-9, "{energy} {stage}");
    // Multiplications of the ordinary network: three convolutions, whose weights meet a pixel
    // 22 · 22 times on maps of 8x8 and 10 · 10 times on 4x4, and two matrix products.
    let macs = 484 * 6 + 100 * 6 * 8 + 100 * 8 * 8 + 128 * 12 + 12 * 4;
    let ann = 4.6 * f64::from(macs);
    assert!((ann / number("ann_energy_pj_per_image") - 1.0).abs() < 1e-9, "{ann} {stage}");
}

fn run(recipe: &str) -> (Workplace, Value) {
    let place = Workplace::new();
    place.write("tiny.toml", recipe);
    place.succeed(&["run", "tiny.toml", "--quiet"]);
    let summary = place.summary("tiny");
    (place, summary)
}

#[track_caller]
fn fits(summary: &Value) {
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
