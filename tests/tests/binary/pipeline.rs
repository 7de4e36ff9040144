//! Recipes without a teacher, students that start at random, and stages that a recipe adds.

use std::fs;

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::{cells, numbers, read_json, tensors};
use lasnn_tests::recipe::replaced;
use serde_json::{Value, json};

/// Digits, a network of a few hundred weights, and one epoch on a few images.
const DIGITS: &str = r#"
name = "digits"
seed = 1

[data]
source = "digits"
validation = 40
train_limit = 160
test_limit = 200

[intermediate.network]
name = "digits-tiny"
layers = [
    { kind = "conv", channels = 4, tap = "low" },
    { kind = "average-pool" },
    { kind = "conv", channels = 6, tap = "high" },
    { kind = "classifier" },
]

[intermediate.train]
epochs = 1
batch = 32
optimizer = { kind = "sgd", learning_rate = 0.05 }

[conversion]
time_steps = 8
batch = 64

[student]
time_steps = 4
losses = [{ kind = "cross-entropy" }]

[student.train]
epochs = 1
batch = 32
optimizer = { kind = "adam", learning_rate = 1e-2 }
"#;

const TRAIN: &str =
    "epochs = 1\nbatch = 32\noptimizer = { kind = \"adam\", learning_rate = 1e-2 }\n";

/// A fourth stage, which trains the student further over more time steps.
const LONGER: &str = "[stages.longer]\nkind = \"student\"\nfrom = \"student\"\ntime_steps = 6\n\
                      train_limit = 100\n[stages.longer.train]\n";

const TEACHER: &str = r#"
network = { name = "digits-large", layers = [
    { kind = "conv", channels = 8, bias = true, batch_norm = true, tap = "low" },
    { kind = "average-pool" },
    { kind = "conv", channels = 8, bias = true, batch_norm = true, tap = "high" },
    { kind = "classifier", bias = true },
] }
train = { epochs = 1, batch = 32, optimizer = { kind = "sgd", learning_rate = 0.1 } }
"#;

/// The keys of the stages in a summary.
fn stages(summary: &Value) -> Vec<&str> {
    let mut names: Vec<_> = summary["stages"].as_object().unwrap().keys().map(|k| &**k).collect();
    names.sort();
    names
}

#[test]
fn a_recipe_may_lack_a_teacher() {
    let sandbox = Sandbox::with("digits.toml", DIGITS);
    let outcome = sandbox.succeed(&["run", "digits.toml"]);
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("teacher: "), "{}", outcome.stderr);
    let row = cells(&outcome.stdout, "trained SNN");
    assert_eq!(row[2], "4", "{}", outcome.stdout);
    let summary = sandbox.summary("digits");
    crate::summary::assert_fits(&summary);
    assert_eq!(stages(&summary), ["conversion", "intermediate", "student"]);

    let eval = sandbox.json(&["eval", "digits.toml"]);
    assert_eq!(eval["test_accuracy"], summary["stages"]["student"]["test_accuracy"]);
    let inspected = sandbox.json(&["inspect", "digits.toml"]);
    assert!(inspected.get("teacher").is_none(), "{inspected}");
    assert_eq!(inspected["intermediate"]["network"], "digits-tiny");
    let id = sandbox.json(&["runs"])[0]["id"].as_str().unwrap().to_owned();
    let compared = sandbox.succeed(&["runs", "compare", &id, &id]).stdout;
    cells(&compared, "accuracy: trained SNN");

    for (arguments, words) in [
        (&["train", "teacher", "digits.toml"][..], &["no stage `teacher`", "no table [teacher]"]),
        (&["train", "longer", "digits.toml"], &["no stage `longer`", "`student`"]),
        (&["train", "a/b", "digits.toml"], &["\"a/b\" is no name of a stage", "letters"]),
        (&["eval", "digits.toml", "--stage", "teacher"], &["no stage `teacher`", "`converted`"]),
        (&["distill", "digits.toml", "--teacher", "a"], &["--teacher is of no use", "`teacher`"]),
    ] {
        sandbox.fail(arguments, 2, words);
    }
    let attention = "losses = [{ kind = \"attention\", taps = [\"low\"] }]";
    let cross_entropy = "losses = [{ kind = \"cross-entropy\" }]";
    sandbox.write("wrong.toml", &replaced(DIGITS, cross_entropy, attention));
    let words = ["wrong.toml", "`losses[0]` (attention)", "teacher, but there is none"];
    sandbox.fail(&["run", "wrong.toml"], 2, &words);
    assert_eq!(sandbox.runs("digits").len(), 1);
}

#[test]
fn a_teacher_that_no_loss_needs_is_trained_by_its_own_command_only() {
    let sandbox = Sandbox::with("digits.toml", &format!("{DIGITS}[teacher]{TEACHER}"));
    let outcome = sandbox.succeed(&["run", "digits.toml"]);
    let note = "note: no loss in `student.losses` compares with the network of [teacher]";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    assert_eq!(stages(&sandbox.summary("digits")), ["conversion", "intermediate", "student"]);
    let trained = sandbox.json(&["train", "teacher", "digits.toml"]);
    assert_eq!(stages(&trained), ["teacher"]);
}

#[test]
fn a_student_that_starts_at_random_needs_no_conversion() {
    let start = "[student]\nstart = \"random\"\nthreshold = 0.5\n";
    let recipe = replaced(DIGITS, "[student]\n", start);
    let from = recipe.find("[intermediate.train]").unwrap();
    let to = recipe.find("[student]").unwrap();
    let short = format!("{}{}", &recipe[..from], &recipe[to..]);
    let sandbox = Sandbox::with("digits.toml", &short);
    let outcome = sandbox.succeed(&["run", "digits.toml"]);
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
    let summary = sandbox.summary("digits");
    crate::summary::assert_fits(&summary);
    assert_eq!(stages(&summary), ["student"]);
    assert_eq!(summary["stages"]["student"]["epochs"], 1);
    let spikes = &summary["stages"]["student"]["spikes_per_image"];
    assert!(spikes.as_f64().unwrap() > 0.0, "a silent network learns nothing: {summary:#}");
    let student = sandbox.only_run("digits").join("checkpoints/student.safetensors");
    let inspected = sandbox.json(&["inspect", &student.to_string_lossy()]);
    assert_eq!(inspected["network"]["layers"][0]["thresholds"], json!([0.5]));
    // The resolved recipe describes the same experiment.
    let resolved = sandbox.only_run("digits").join("recipe.toml");
    let again = sandbox.json(&["run", &resolved.to_string_lossy()]);
    assert_eq!(numbers(again), numbers(summary));

    let words = ["no stage `converted`", "no table [intermediate.train]"];
    sandbox.fail(&["convert", "digits.toml"], 2, &words);
    // Tables that a random start does not need change nothing and are named.
    let other = Sandbox::with("digits.toml", &recipe);
    let outcome = other.succeed(&["run", "digits.toml"]);
    for table in ["[intermediate.train]", "[conversion]"] {
        let note = format!("note: {table} has no effect");
        assert!(outcome.stderr.contains(&note), "no `{note}` in {}", outcome.stderr);
    }
    let weights = |sandbox: &Sandbox| {
        let runs = sandbox.runs("digits");
        tensors(&runs[0].join("checkpoints/student.safetensors"))
    };
    assert!(weights(&other) == weights(&sandbox), "the students differ");
}

#[test]
fn a_recipe_can_add_a_stage() {
    let sandbox = Sandbox::with("digits.toml", &format!("{DIGITS}\n{LONGER}{TRAIN}"));
    let outcome = sandbox.succeed(&["run", "digits.toml"]);
    assert!(outcome.stderr.contains("longer: epoch 1/1"), "{}", outcome.stderr);
    assert_eq!(cells(&outcome.stdout, "SNN `longer`")[2], "6", "{}", outcome.stdout);
    let summary = sandbox.summary("digits");
    crate::summary::assert_fits(&summary);
    assert_eq!(stages(&summary), ["conversion", "intermediate", "longer", "student"]);
    let run = sandbox.only_run("digits");
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let of_lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let names: Vec<_> = of_lines.map(|line| line["stage"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["intermediate", "student", "longer"]);

    // The stage is known to the other commands, and is the result of the run.
    let eval = sandbox.json(&["eval", "digits.toml", "--stage", "longer"]);
    assert_eq!(eval["time_steps"], 6);
    assert_eq!(eval["test_accuracy"], summary["stages"]["longer"]["test_accuracy"]);
    let file = run.join("checkpoints/longer.safetensors");
    let file = file.to_string_lossy();
    let named = sandbox.json(&["eval", "digits.toml", "--checkpoint", &file]);
    assert_eq!(named["stage"], "longer");
    assert_eq!(sandbox.json(&["inspect", &file])["about"]["stage"], "longer");
    let listed = sandbox.json(&["runs"]);
    let last = listed[0]["stages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["stage"], &last["time_steps"]), (&json!("longer"), &json!(6)));
    let memory = &sandbox.json(&["inspect", "digits.toml"])["memory"]["stages"];
    let estimated: Vec<_> =
        memory.as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    let expected = ["intermediate", "conversion", "student", "longer", "measuring"];
    assert_eq!(estimated, expected);

    // A run that was cut off before the stage ends with the same numbers.
    fs::remove_file(run.join("summary.json")).unwrap();
    fs::remove_file(run.join("checkpoints/longer.safetensors")).unwrap();
    fs::remove_dir_all(run.join("checkpoints/longer")).unwrap();
    sandbox.succeed(&["run", "digits.toml", "--resume", "--quiet"]);
    assert_eq!(sandbox.runs("digits").len(), 1);
    assert_eq!(numbers(read_json(&run.join("summary.json"))), numbers(summary));

    // `distill` ends with the student, `train` with the stage that it names.
    let distilled = sandbox.json(&["distill", "digits.toml"]);
    assert_eq!(stages(&distilled), ["conversion", "intermediate", "student"]);
    let trained = sandbox.json(&["train", "longer", "digits.toml"]);
    assert_eq!(stages(&trained), ["conversion", "intermediate", "longer", "student"]);
    let options = ["run", "digits.toml", "--set", "stages.longer.from=studnet"];
    let words = ["--set stages.longer.from=studnet: `stages.longer.from`", "`student`, `random`"];
    sandbox.fail(&options, 2, &words);
}

#[test]
fn an_added_student_can_learn_from_an_added_ann() {
    let ann = format!("[stages.large]\nkind = \"ann\"{TEACHER}");
    let student = "[stages.second]\nkind = \"student\"\nfrom = \"converted\"\nteacher = \"large\"\n\
                   losses = [{ kind = \"logits\" }]\n[stages.second.train]\n";
    let recipe = format!("{DIGITS}\n{ann}{student}{TRAIN}");
    let sandbox = Sandbox::with("digits.toml", &recipe);
    let outcome = sandbox.succeed(&["run", "digits.toml"]);
    assert_eq!(cells(&outcome.stdout, "ANN `large`")[2], "-", "{}", outcome.stdout);
    let summary = sandbox.summary("digits");
    crate::summary::assert_fits(&summary);
    let all = ["conversion", "intermediate", "large", "second", "student"];
    assert_eq!(stages(&summary), all);
    assert_eq!(summary["stages"]["large"]["network"], "digits-large");
    let inspected = sandbox.json(&["inspect", "digits.toml"]);
    assert_eq!(inspected["stages"]["large"]["network"], "digits-large");
    // The ANN is reused, like the teacher.
    let second = sandbox.json(&["run", "digits.toml"]);
    assert_eq!(second["stages"]["large"]["reused"], true);
    assert_eq!(second["stages"]["second"]["reused"], false);
    assert_eq!(numbers(second), numbers(summary));
}
