//! Combinations of methods in one recipe: each is refused before a training or runs to its end.

mod settings;

use std::fs;

use lasnn_tests::outputs::numbers;
use lasnn_tests::{Outcome, Sandbox};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::settings::{BASE, ROWS, SETTINGS};
use crate::summary::assert_fits;

/// The lists of `lasnn list` whose choices are all among the settings.
const LISTS: [&str; 8] = [
    "activations",
    "encodings",
    "losses",
    "methods",
    "neurons",
    "optimizers",
    "schedules",
    "surrogates",
];

/// The number of random recipes.
const WALK: u64 = 40;

#[test]
fn every_setting_is_in_a_recipe_that_runs() {
    let sandbox = Sandbox::with("base.toml", BASE);
    let words = || ROWS.iter().flat_map(|row| row.split(' '));
    for setting in SETTINGS {
        assert!(words().any(|word| word == parts(setting)[0]), "no row has {setting}");
    }
    // A choice that is added later is missing here.
    for list in LISTS {
        for choice in sandbox.json(&["list", list]).as_array().unwrap() {
            let [key, name] = ["key", "name"].map(|field| choice[field].as_str().unwrap());
            let key = key.rsplit('.').next().unwrap();
            let written =
                [format!("{key}='{name}'"), format!("{key}={name}"), format!("{name}={{")];
            let is_set = |setting: &&str| written.iter().any(|text| setting.contains(text));
            assert!(SETTINGS.iter().any(is_set), "no setting has `{name}` for `{key}`");
        }
    }
    let setting = |word| SETTINGS.iter().find(|setting| parts(setting)[0] == word).unwrap();
    for (index, row) in ROWS.iter().enumerate() {
        let settings: Vec<_> = row.split(' ').map(|word| *setting(word)).collect();
        let summary = run(&sandbox, &format!("row-{index}"), &settings);
        let summary = summary.unwrap_or_else(|| panic!("refused: {row}"));
        let spikes = summary["stages"]["student"]["spikes_per_image"].as_f64();
        assert!(spikes > Some(0.0), "a silent network tests little: {row}");
    }
}

#[test]
fn random_recipes_run_or_are_refused() {
    let sandbox = Sandbox::with("base.toml", BASE);
    let mut keys: Vec<_> = SETTINGS.iter().map(|setting| parts(setting)[1]).collect();
    keys.dedup();
    let (mut finished, mut reused) = (0, 0);
    for recipe in 0..WALK {
        let settings: Vec<_> = keys.iter().filter_map(|key| chosen(recipe, key)).collect();
        let name = format!("walk-{recipe}");
        let Some(summary) = run(&sandbox, &name, &settings) else { continue };
        finished += 1;
        reused += u32::from(summary["stages"]["intermediate"]["reused"] == true);
        // The networks that earlier recipes have left are reused only where they are the same.
        let expected = run(&Sandbox::with("base.toml", BASE), &name, &settings).unwrap();
        assert_eq!(numbers(summary), numbers(expected), "{name}: {settings:#?}");
    }
    println!(
        "{finished} of {WALK} random recipes have run, {reused} of them with a reused network"
    );
    assert!(reused > 0, "no recipe has reused a network");
    assert!(2 * finished >= WALK, "only {finished} of {WALK} random recipes have run");
}

#[test]
fn numbers_that_single_precision_cannot_hold_are_refused() {
    let sandbox = Sandbox::with("base.toml", BASE);
    for (setting, key) in [
        ("student={start='random',threshold=1e300}", "`student.threshold`"),
        ("student={start='random',threshold=1e-300}", "`student.threshold`"),
        ("student={start='random',batch_norm={kind='threshold-dependent',alpha=1e300}}", "alpha"),
        ("conversion.scale=1e30", "conversion.scale"),
        ("student.losses=[{kind='logits',temperature=1e30}]", "`temperature`"),
        (
            "student.losses=[{kind='cross-entropy'},{kind='cumulative-logits',temperature=1e-30}]",
            "`temperature`",
        ),
    ] {
        sandbox.fail(&["run", "base.toml", "--set", setting], 2, &[key, "from 1e-6 to 1e6"]);
    }
    assert!(sandbox.runs("base").is_empty(), "refused too late");
}

/// The setting of a random recipe for a key: none in three of four cases.
///
/// A draw depends on its recipe and its key only, so a further key changes no other draw.
fn chosen(recipe: u64, key: &str) -> Option<&'static str> {
    let hash = Sha256::digest(format!("1 {recipe} {key}"));
    let draw = u64::from_le_bytes(*hash.first_chunk().unwrap());
    let settings = SETTINGS.iter().copied().filter(|setting| parts(setting)[1] == key);
    let settings: Vec<_> = settings.collect();
    (draw % 4 == 0).then(|| settings[(draw / 4) as usize % settings.len()])
}

/// The word of a setting, its key, and the key with its value.
fn parts(setting: &'static str) -> [&'static str; 3] {
    let (word, option) = setting.split_once(' ').unwrap();
    [word, option.split_once('=').unwrap().0, option]
}

/// Runs [`BASE`] with these settings: the summary, or `None` if the recipe is refused.
///
/// # Panics
///
/// Panics with the recipe if the run ends in another way, or if its numbers contradict each other.
fn run(sandbox: &Sandbox, name: &str, settings: &[&'static str]) -> Option<Value> {
    let renamed = format!("name={name}");
    let options = settings.iter().flat_map(|setting| ["--set", parts(setting)[2]]);
    let options: Vec<_> = ["--set", &renamed].into_iter().chain(options).collect();
    // The harness prints this if the test fails.
    eprintln!("{}", options.join(" "));
    let outcome = sandbox.run(&[&["run", "base.toml"], &options[..]].concat());
    let printed = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(!printed.contains("panicked") && !printed.contains("NaN"), "{outcome:#?}");
    if outcome.code != Some(0) {
        assert_refused(&outcome);
        assert!(sandbox.runs(name).is_empty(), "refused too late: {outcome:#?}");
        return None;
    }

    let summary = sandbox.summary(name);
    assert_fits(&summary);
    let has = |word: &str| settings.iter().any(|setting| parts(setting)[0] == word);
    let converts = has("strong") || !["random", "plain-norm", "scaled-norm"].into_iter().any(has);
    let stages = [
        ("intermediate", converts || has("again")),
        ("conversion", converts),
        ("student", true),
        ("student_without_distillation", has("control")),
        ("more", has("longer") || has("again")),
        ("strong", has("strong")),
    ];
    for (stage, is_expected) in stages {
        let stage = &summary["stages"][stage];
        assert_eq!(stage.is_object(), is_expected, "{summary:#}");
        if let Some(by_step) = stage["accuracy_by_step"].as_array() {
            assert_eq!(Some(by_step.len() as u64), stage["time_steps"].as_u64(), "{summary:#}");
            assert_eq!(by_step.last(), Some(&stage["test_accuracy"]), "{summary:#}");
        }
    }
    let folder = sandbox.only_run(name);
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("train_loss"), "{metrics}");
    // JSON has no NaN: it is written as `null`.
    assert!(!metrics.contains("null"), "{metrics}");
    // What was measured is what the checkpoint holds.
    let file = folder.join("checkpoints/student.safetensors");
    let eval = ["eval", "base.toml", "--checkpoint", &file.to_string_lossy()];
    let measured = sandbox.json(&[&eval, &options[..]].concat());
    for key in ["test_accuracy", "spikes_per_image"] {
        assert_eq!(measured[key], summary["stages"]["student"][key], "{key}: {summary:#}");
    }
    Some(summary)
}

/// Checks the exit code, and that the error names a key of one of the settings in backticks.
fn assert_refused(outcome: &Outcome) {
    outcome.assert_failed(2, &["error: "]);
    let (_, error) = outcome.stderr.split_once("error: ").unwrap();
    let settings = SETTINGS.join(" ");
    let keys: Vec<_> = settings.split([' ', '=', ',', '.', '{']).collect();
    let mut names = error.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit('.').next());
    assert!(names.any(|name| keys.contains(&name)), "no key: {outcome:#?}");
}
