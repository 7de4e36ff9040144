//! A checkpoint is used only with the recipe that it was made for. Differences are refused by name.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use lasnn_tests::Workplace;
use lasnn_tests::recipe::tiny_with;
use lasnn_tests::workplace::{Outcome, read_json};
use serde_json::{Value, json};

/// A run of the tiny recipe with direct encoding, which works with every normalisation.
fn trained() -> (Workplace, PathBuf) {
    let place = Workplace::new();
    place.write("tiny.toml", &direct());
    place.succeed(&["run", "tiny.toml", "--quiet"]);
    let checkpoints = place.only_run("tiny").join("checkpoints");
    (place, checkpoints)
}

fn direct() -> String {
    tiny_with("encoding = { kind = \"poisson\" }", "encoding = { kind = \"direct\" }")
}

/// What is said about a checkpoint under a recipe in which `from` is written as `to`.
#[track_caller]
fn refused(place: &Workplace, arguments: &[&str], from: &str, to: &str) -> String {
    let recipe = direct();
    assert_eq!(recipe.matches(from).count(), 1, "{from}");
    place.write("other.toml", &recipe.replacen(from, to, 1));
    let outcome = place.run(arguments);
    assert_eq!(outcome.code, Some(2), "{to}: {outcome:#?}");
    outcome.stderr
}

#[test]
fn a_checkpoint_is_measured_under_what_it_was_made_for() {
    let (place, checkpoints) = trained();
    let student = checkpoints.join("student.safetensors");
    let file = student.to_string_lossy();
    let eval = |more: &[&str]| {
        let all = [&["eval", "tiny.toml", "--checkpoint", &file], more].concat();
        place.json(&all)
    };
    let as_it_was = eval(&[]);
    let summary = place.summary("tiny");
    assert_eq!(as_it_was["test_accuracy"], summary["stages"]["student"]["test_accuracy"]);
    assert_eq!(as_it_was["accuracy_by_class"], summary["stages"]["student"]["accuracy_by_class"]);
    assert_eq!(as_it_was["overridden"], json!([]));
    assert_eq!(as_it_was["normalisation"]["kind"], "signed");

    for (from, to, words) in [
        (
            "validation = 16",
            "validation = 16\nnormalisation = \"unit\"",
            &["`data.normalisation` is \"signed\" in the checkpoint and \"unit\""][..],
        ),
        (
            "[spiking]\n",
            "[spiking]\nleak = 0.7\n",
            &["`spiking.leak` is 1.0 in the checkpoint and 0.7"],
        ),
        ("[spiking]\n", "[spiking]\nreadout = \"mean\"\n", &["`spiking.readout`", "\"mean\""]),
        (
            "[spiking]\n",
            "[spiking]\nreset = \"zero\"\nleak = 0.5\n",
            &["`spiking.reset`", "`spiking.leak`"],
        ),
        ("features = 12", "features = 13", &["`layers.5` of `intermediate.network`", "13"]),
        (
            "time_steps = 6",
            "time_steps = 5",
            &["`student.time_steps` is 6 in the checkpoint and 5"],
        ),
        ("classes = 4", "classes = 5", &["class 4 is absent in the checkpoint"]),
    ] {
        let said = refused(&place, &["eval", "other.toml", "--checkpoint", &file], from, to);
        assert!(said.contains("student.safetensors"), "{said}");
        for word in words {
            assert!(said.contains(word), "no `{word}` in {said}");
        }
    }
    let wrong_stage = ["eval", "tiny.toml", "--checkpoint", &file, "--stage", "teacher"];
    let outcome = place.run(&wrong_stage);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("a spiking network (`student`), expected an ANN for `teacher`"),
        "{outcome:#?}"
    );

    let other = eval(&["--time-steps", "4", "--normalisation", "unit"]);
    assert_eq!(other["time_steps"], 4);
    assert_eq!(other["normalisation"]["kind"], "unit");
    let notes = other["overridden"].to_string();
    assert!(notes.contains("\\\"unit\\\"") && notes.contains("4 time steps"), "{notes}");
    let text = place.succeed(&["eval", "tiny.toml", "--checkpoint", &file, "--time-steps", "4"]);
    assert!(text.stdout.contains("note: 4 time steps, the network was made for 6"), "{text:#?}");
}

#[test]
fn a_checkpoint_in_place_of_a_stage_must_be_that_stage() {
    let (place, checkpoints) = trained();
    let path = |stage: &str| checkpoints.join(format!("{stage}.safetensors"));
    let teacher = path("teacher").to_string_lossy().into_owned();
    let intermediate = path("intermediate").to_string_lossy().into_owned();
    let runs = place.runs("tiny").len();
    for (arguments, from, to, word) in [
        (
            &["distill", "other.toml", "--teacher", &teacher][..],
            "validation = 16",
            "validation = 16\nnormalisation = \"standard\"",
            "`data.normalisation`",
        ),
        (
            &["convert", "other.toml", "--intermediate", &intermediate],
            "features = 12",
            "features = 13",
            "`layers.5`",
        ),
        (
            &["convert", "other.toml", "--intermediate", &teacher],
            "seed = 3",
            "seed = 4",
            "`layers.0` of `intermediate.network`",
        ),
    ] {
        let said = refused(&place, arguments, from, to);
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(place.runs("tiny").len(), runs, "nothing was begun");
    place.succeed(&["distill", "tiny.toml", "--teacher", &teacher, "--quiet"]);
}

/// The mean and the deviation of `standard` follow from the images trained on, and those from the
/// seed.
#[test]
fn a_run_takes_the_numbers_of_the_checkpoint_that_it_is_given() {
    let place = Workplace::new();
    let recipe =
        direct().replacen("validation = 16", "validation = 16\nnormalisation = \"standard\"", 1);
    place.write("tiny.toml", &recipe);
    place.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let teacher = place.only_run("tiny").join("checkpoints/teacher.safetensors");
    let file = teacher.to_string_lossy();
    let numbers = |path: &Path| metadata(path)["definition"]["normalisation"].clone();
    place.succeed(&["distill", "tiny.toml", "--teacher", &file, "--seed", "9", "--quiet"]);
    let distilled: Vec<_> = place
        .runs("tiny")
        .into_iter()
        .map(|run| run.join("checkpoints/student.safetensors"))
        .filter(|file| file.is_file())
        .collect();
    assert_eq!(distilled.len(), 1);
    assert_eq!(numbers(&distilled[0]), numbers(&teacher));
    place.succeed(&["train", "teacher", "tiny.toml", "--seed", "9", "--quiet"]);
    let other = place
        .runs("tiny")
        .into_iter()
        .map(|run| run.join("checkpoints/teacher.safetensors"))
        .find(|file| file.is_file() && numbers(file) != numbers(&teacher));
    assert!(other.is_some(), "the test wants seeds with other numbers");
}

#[test]
fn a_checkpoint_that_does_not_say_what_it_is_for_is_refused_with_the_command_that_helps() {
    let (place, checkpoints) = trained();
    let student = checkpoints.join("student.safetensors");
    let about = metadata(&student);
    // What version 1 wrote.
    let old = json!({
        "format": 1,
        "stage": "student",
        "network": about["definition"]["network"],
        "image": about["definition"]["image"],
        "classes": 4,
        "spiking": about["definition"]["spiking"]["config"],
        "summary": about["summary"],
        "history": about["history"],
        "conversion": null,
    });
    for (name, metadata) in [("foreign", None), ("old", Some(old))] {
        let file = format!("{name}.safetensors");
        std::fs::write(place.path().join(&file), rewritten(&student, metadata.as_ref())).unwrap();
        let outcome = place.run(&["eval", "tiny.toml", "--checkpoint", &file]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let command = format!(
            "lasnn annotate {file} tiny.toml --stage student --out {name}-annotated.safetensors"
        );
        assert!(outcome.stderr.contains(&command), "{outcome:#?}");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        place.succeed(&words);
        let out = format!("{name}-annotated.safetensors");
        let measured = place.json(&["eval", "tiny.toml", "--checkpoint", &out]);
        let expected = &place.summary("tiny")["stages"]["student"]["test_accuracy"];
        assert_eq!(&measured["test_accuracy"], expected);
        let again = place.run(&words);
        assert_eq!(again.code, Some(2), "nothing is written over: {again:#?}");
    }
    let said = |words: &[&str], from: &str, to: &str| -> String {
        let all = [words, &["--stage", "student", "--out", "new.safetensors"]].concat();
        refused(&place, &all, from, to)
    };
    let annotate = &["annotate", "old.safetensors", "other.toml"];
    let leak = said(annotate, "[spiking]\n", "[spiking]\nleak = 0.5\n");
    assert!(leak.contains("`spiking.leak` is 1.0 in the checkpoint and 0.5"), "{leak}");
    let steps = said(annotate, "time_steps = 6", "time_steps = 5");
    assert!(steps.contains("`student.time_steps` is 6 in the checkpoint and 5"), "{steps}");
    let layer = said(annotate, "features = 12", "features = 13");
    assert!(layer.contains("layers.5.linear.weight"), "{layer}");
    // A file from which a training goes on holds more than a network.
    let last = checkpoints.join("student/last.safetensors");
    let outcome = place.run(&["eval", "tiny.toml", "--checkpoint", &last.to_string_lossy()]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("`checkpoints/<stage>.safetensors`"), "{outcome:#?}");
    assert!(!place.path().join("new.safetensors").exists());
}

#[test]
fn a_checkpoint_holds_the_layout_of_every_tensor() {
    let (place, checkpoints) = trained();
    let student = checkpoints.join("student.safetensors");
    let layout = metadata(&student)["layout"].clone();
    assert_eq!(
        layout["layers.0.conv.weight"],
        "output channel, input channel, kernel row, kernel column"
    );
    let linear = "input feature (channel, then row, then column), output feature";
    assert_eq!(layout["layers.6.linear.weight"], linear);
    let inspected = place.json(&["inspect", &student.to_string_lossy()]);
    let tensors = inspected["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), layout.as_object().unwrap().len());
    for tensor in tensors {
        assert_eq!(tensor["axes"], layout[tensor["name"].as_str().unwrap()]);
    }
    let classes = &inspected["about"]["definition"]["classes"];
    assert_eq!(classes.as_array().unwrap().len(), 4);
}

/// What a checkpoint says about itself.
fn metadata(path: &Path) -> Value {
    let file = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let entry = header["__metadata__"]["lasnn"].as_str().unwrap();
    serde_json::from_str::<Value>(entry).unwrap()["metadata"].clone()
}

/// The bytes of a checkpoint with other metadata, or with none, as another program writes it.
fn rewritten(path: &Path, metadata: Option<&Value>) -> Vec<u8> {
    let file = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let tensors = &file[8 + length..];
    let header_entry = header.as_object_mut().unwrap();
    match metadata {
        None => {
            header_entry.remove("__metadata__");
        }
        Some(metadata) => {
            let entry =
                json!({"sha256": sha256(header_entry, tensors, metadata), "metadata": metadata});
            header_entry.insert("__metadata__".into(), json!({"lasnn": entry.to_string()}));
        }
    }
    let mut text = header.to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_bytes());
    out.extend(tensors);
    out
}

/// The hash of names, shapes, values and metadata that a checkpoint of this program holds.
fn sha256(header: &serde_json::Map<String, Value>, tensors: &[u8], metadata: &Value) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for (name, tensor) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let shape: Vec<u64> = serde_json::from_value(tensor["shape"].clone()).unwrap();
        let [start, end]: [usize; 2] =
            serde_json::from_value(tensor["data_offsets"].clone()).unwrap();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|size| hash.update(size.to_le_bytes()));
        hash.update(&tensors[start..end]);
    }
    hash.update(metadata.to_string());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A damaged file says what to do next.
#[test]
fn damage_is_told_with_what_to_do_next() {
    let (place, checkpoints) = trained();
    let run = place.only_run("tiny");
    std::fs::remove_file(run.join("summary.json")).unwrap();
    let student = checkpoints.join("student.safetensors");
    let mut bytes = std::fs::read(&student).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&student, &bytes).unwrap();
    let resume = |place: &Workplace| -> Outcome { place.run(&["run", "tiny.toml", "--resume"]) };
    let outcome = resume(&place);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("student.safetensors"), "{outcome:#?}");
    assert!(outcome.stderr.contains("remove it"), "{outcome:#?}");

    std::fs::remove_file(&student).unwrap();
    let training = checkpoints.join("student/last.safetensors");
    std::fs::write(&training, &bytes).unwrap();
    let outcome = resume(&place);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("last.safetensors"), "{outcome:#?}");
    assert!(outcome.stderr.contains("remove the folder"), "{outcome:#?}");

    std::fs::remove_dir_all(checkpoints.join("student")).unwrap();
    assert_eq!(resume(&place).code, Some(0));
    assert_eq!(read_json(&run.join("summary.json"))["recipe"], "tiny");
}
