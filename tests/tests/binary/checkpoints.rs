//! A checkpoint is used only with a recipe that it fits. Each difference is refused by its name.

use std::fs;
use std::path::{Path, PathBuf};

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::read_json;
use lasnn_tests::recipe::{replaced, tiny_with};
use serde_json::{Value, json};

/// The recipe with direct encoding, which allows every normalisation.
pub fn direct() -> String {
    tiny_with("encoding = { kind = \"poisson\" }", "encoding = { kind = \"direct\" }")
}

/// A finished run of that recipe, and the folder of its checkpoints.
pub fn trained() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with("tiny.toml", &direct());
    sandbox.succeed(&["run", "tiny.toml", "--quiet"]);
    let checkpoints = sandbox.only_run("tiny").join("checkpoints");
    (sandbox, checkpoints)
}

/// Runs a command with `other.toml`, the recipe with `to` in place of `from`, and checks that it is
/// refused with all `words`.
#[track_caller]
pub fn assert_refused(
    sandbox: &Sandbox,
    arguments: &[&str],
    [from, to]: [&str; 2],
    words: &[&str],
) {
    sandbox.write("other.toml", &replaced(&direct(), from, to));
    sandbox.fail(arguments, 2, words);
}

/// The metadata of a checkpoint.
pub fn metadata(path: &Path) -> Value {
    let file = fs::read(path).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let entry = header["__metadata__"]["lasnn"].as_str().unwrap();
    serde_json::from_str::<Value>(entry).unwrap()["metadata"].clone()
}

#[test]
fn a_checkpoint_is_measured_with_a_recipe_that_it_fits() {
    let (sandbox, checkpoints) = trained();
    let student = checkpoints.join("student.safetensors");
    let file = student.to_string_lossy();
    let eval = |more: &[&str]| {
        let all = [&["eval", "tiny.toml", "--checkpoint", &file], more].concat();
        sandbox.json(&all)
    };
    let unchanged = eval(&[]);
    let summary = &sandbox.summary("tiny")["stages"]["student"];
    for key in ["test_accuracy", "accuracy_by_class", "spikes_per_image"] {
        assert_eq!(unchanged[key], summary[key], "{key}");
    }
    assert_eq!(unchanged["overridden"], json!([]));
    assert_eq!(unchanged["normalisation"]["kind"], "signed");

    for (change, words) in [
        (
            ["validation = 16", "validation = 16\nnormalisation = \"unit\""],
            &["`data.normalisation` is \"signed\" in the checkpoint and \"unit\""][..],
        ),
        (
            ["[spiking]\n", "[spiking]\nneuron = { leak = 0.7 }\n"],
            &["`spiking.neuron.leak` is 1.0 in the checkpoint and 0.7"],
        ),
        (
            ["[spiking]\n", "[spiking]\nneuron = { reset = \"zero\" }\n"],
            &["`spiking.neuron.reset`", "\"zero\""],
        ),
        (
            ["[spiking]\n", "[spiking]\nneuron = { reset = \"zero\", leak = 0.5 }\n"],
            &["`spiking.neuron.reset`", "`spiking.neuron.leak`"],
        ),
        (
            ["[spiking]\n", "[spiking]\nneuron = { kind = \"plif\" }\n"],
            &["`spiking.neuron.kind` is \"lif\" in the checkpoint and \"plif\""],
        ),
        (["features = 12", "features = 13"], &["`layers.5` of `intermediate.network`", "13"]),
        (
            ["time_steps = 6", "time_steps = 5"],
            &["`student.time_steps` is 6 in the checkpoint and 5"],
        ),
        (["classes = 4", "classes = 5"], &["class 4 is absent in the checkpoint"]),
    ] {
        let words = [&["student.safetensors"], words].concat();
        assert_refused(&sandbox, &["eval", "other.toml", "--checkpoint", &file], change, &words);
    }
    let wrong_stage = ["eval", "tiny.toml", "--checkpoint", &file, "--stage", "teacher"];
    sandbox.fail(
        &wrong_stage,
        2,
        &["a spiking network (`student`), expected an ANN for `teacher`"],
    );

    let other = eval(&["--time-steps", "4", "--normalisation", "unit"]);
    assert_eq!(other["time_steps"], 4);
    assert_eq!(other["normalisation"]["kind"], "unit");
    let notes = other["overridden"].to_string();
    assert!(notes.contains("\\\"unit\\\"") && notes.contains("4 time steps"), "{notes}");
    let text = sandbox.succeed(&["eval", "tiny.toml", "--checkpoint", &file, "--time-steps", "4"]);
    assert!(text.stdout.contains("note: 4 time steps, the network was made for 6"), "{text:#?}");
}

#[test]
fn a_checkpoint_in_place_of_a_stage_must_fit_that_stage() {
    let sandbox = Sandbox::with("tiny.toml", &direct());
    for stage in ["teacher", "intermediate"] {
        sandbox.succeed(&["train", stage, "tiny.toml", "--quiet"]);
    }
    let runs = sandbox.runs("tiny");
    let path = |stage: &str| {
        let mut files = runs.iter().map(|run| run.join(format!("checkpoints/{stage}.safetensors")));
        files.find(|file| file.is_file()).unwrap().to_string_lossy().into_owned()
    };
    let (teacher, intermediate) = (path("teacher"), path("intermediate"));
    for (arguments, change, word) in [
        (
            &["distill", "other.toml", "--teacher", &teacher][..],
            ["validation = 16", "validation = 16\nnormalisation = \"standard\""],
            "`data.normalisation`",
        ),
        (
            &["convert", "other.toml", "--intermediate", &intermediate],
            ["features = 12", "features = 13"],
            "`layers.5`",
        ),
        (
            &["convert", "other.toml", "--intermediate", &teacher],
            ["seed = 3", "seed = 4"],
            "`layers.0` of `intermediate.network`",
        ),
    ] {
        assert_refused(&sandbox, arguments, change, &[word]);
    }
    assert_eq!(sandbox.runs("tiny").len(), runs.len(), "no run was started");
    sandbox.succeed(&["distill", "tiny.toml", "--teacher", &teacher, "--quiet"]);
}

/// The mean and the standard deviation of the normalisation `standard` are those of the training
/// images, and the seed selects these.
#[test]
fn a_run_normalises_like_the_checkpoint_that_it_is_given() {
    let normalisation = "validation = 16\nnormalisation = \"standard\"";
    let recipe = replaced(&direct(), "validation = 16", normalisation);
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let teacher = sandbox.only_run("tiny").join("checkpoints/teacher.safetensors");
    let file = teacher.to_string_lossy();
    let numbers = |path: &Path| metadata(path)["definition"]["normalisation"].clone();
    let checkpoints = |stage: &str| -> Vec<PathBuf> {
        let runs = sandbox.runs("tiny").into_iter();
        let files = runs.map(|run| run.join(format!("checkpoints/{stage}.safetensors")));
        files.filter(|file| file.is_file()).collect()
    };

    // Seed 9 selects other training images, so its own teacher has other numbers.
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--seed", "9", "--quiet"]);
    let others = checkpoints("teacher");
    let other = others.iter().find(|file| numbers(file) != numbers(&teacher));
    assert!(other.is_some(), "the test needs two seeds with different numbers");

    sandbox.succeed(&["distill", "tiny.toml", "--teacher", &file, "--seed", "9", "--quiet"]);
    let distilled = checkpoints("student");
    assert_eq!(distilled.len(), 1);
    assert_eq!(numbers(&distilled[0]), numbers(&teacher));
}

#[test]
fn a_checkpoint_holds_the_layout_of_every_tensor() {
    let (sandbox, checkpoints) = trained();
    let student = checkpoints.join("student.safetensors");
    let layout = metadata(&student)["layout"].clone();
    assert_eq!(
        layout["layers.0.conv.weight"],
        "output channel, input channel, kernel row, kernel column"
    );
    let linear = "input feature (channel, then row, then column), output feature";
    assert_eq!(layout["layers.6.linear.weight"], linear);
    let inspected = sandbox.json(&["inspect", &student.to_string_lossy()]);
    let tensors = inspected["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), layout.as_object().unwrap().len());
    for tensor in tensors {
        assert_eq!(tensor["axes"], layout[tensor["name"].as_str().unwrap()]);
    }
    let classes = &inspected["about"]["definition"]["classes"];
    assert_eq!(classes.as_array().unwrap().len(), 4);
}

#[test]
fn a_damaged_checkpoint_is_reported_with_the_next_step() {
    let (sandbox, checkpoints) = trained();
    let run = sandbox.only_run("tiny");
    fs::remove_file(run.join("summary.json")).unwrap();
    let student = checkpoints.join("student.safetensors");
    let mut bytes = fs::read(&student).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&student, &bytes).unwrap();
    let resume = ["run", "tiny.toml", "--resume"];
    sandbox.fail(&resume, 1, &["student.safetensors", "remove it"]);

    fs::remove_file(&student).unwrap();
    fs::write(checkpoints.join("student/last.safetensors"), &bytes).unwrap();
    sandbox.fail(&resume, 1, &["last.safetensors", "remove the folder"]);

    fs::remove_dir_all(checkpoints.join("student")).unwrap();
    sandbox.succeed(&resume);
    assert_eq!(read_json(&run.join("summary.json"))["recipe"], "tiny");
}
