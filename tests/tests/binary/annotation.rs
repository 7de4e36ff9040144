//! Checkpoints that lack their definition, and `lasnn annotate`, which adds it.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::checkpoints::{assert_refused, metadata, trained};

#[test]
fn a_checkpoint_without_its_definition_is_refused_with_the_command_that_adds_it() {
    let (sandbox, checkpoints) = trained();
    let student = checkpoints.join("student.safetensors");
    let about = metadata(&student);
    // The metadata that version 1 wrote.
    let old = json!({
        "format": 1,
        "stage": "student",
        "network": about["definition"]["network"],
        "image": about["definition"]["image"],
        "classes": 4,
        "spiking": flat(&about["definition"]["spiking"]["config"]),
        "summary": about["summary"],
        "history": about["history"],
        "conversion": null,
    });
    // Until version 3 the neurons were no table of their own.
    let mut third = about.clone();
    third["format"] = json!(3);
    third["definition"]["spiking"]["config"] = flat(&about["definition"]["spiking"]["config"]);
    // Version 2 had the readout in its definition.
    let mut second = third.clone();
    second["format"] = json!(2);
    second["definition"]["spiking"]["config"]["readout"] = json!("sum");

    // Version 3 contains everything that this version needs.
    let file = rewritten(&student, Some(&third));
    fs::write(sandbox.path().join("third.safetensors"), file).unwrap();
    let measured = sandbox.json(&["eval", "tiny.toml", "--checkpoint", "third.safetensors"]);
    let expected = &sandbox.summary("tiny")["stages"]["student"];
    assert_eq!(measured["test_accuracy"], expected["test_accuracy"]);
    let words = ["annotate", "third.safetensors", "tiny.toml", "--stage", "student", "--out", "x"];
    sandbox.fail(&words, 2, &["already contains the definition"]);

    for (name, metadata) in [("foreign", None), ("old", Some(old)), ("second", Some(second))] {
        let file = format!("{name}.safetensors");
        fs::write(sandbox.path().join(&file), rewritten(&student, metadata.as_ref())).unwrap();
        let command = format!(
            "lasnn annotate {file} tiny.toml --stage student --out {name}-annotated.safetensors"
        );
        sandbox.fail(&["eval", "tiny.toml", "--checkpoint", &file], 2, &[&command]);
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        sandbox.succeed(&words);
        let out = format!("{name}-annotated.safetensors");
        let measured = sandbox.json(&["eval", "tiny.toml", "--checkpoint", &out]);
        let expected = &sandbox.summary("tiny")["stages"]["student"];
        for key in ["test_accuracy", "accuracy_by_class", "spikes_per_image"] {
            assert_eq!(measured[key], expected[key], "{key}");
        }
        let again = sandbox.run(&words);
        assert_eq!(again.code, Some(2), "nothing is overwritten: {again:#?}");
    }

    let annotate = [
        "annotate",
        "old.safetensors",
        "other.toml",
        "--stage",
        "student",
        "--out",
        "new.safetensors",
    ];
    for (change, word) in [
        (
            ["[spiking]\n", "[spiking]\nneuron = { leak = 0.5 }\n"],
            "`spiking.neuron.leak` is 1.0 in the checkpoint and 0.5",
        ),
        (["time_steps = 6", "time_steps = 5"], "`student.time_steps` is 6 in the checkpoint and 5"),
        (["features = 12", "features = 13"], "layers.5.linear.weight"),
    ] {
        assert_refused(&sandbox, &annotate, change, &[word]);
    }
    // The file from which a training continues holds more than a network.
    let last = checkpoints.join("student/last.safetensors");
    let eval = ["eval", "tiny.toml", "--checkpoint", &last.to_string_lossy()];
    sandbox.fail(&eval, 2, &["`checkpoints/<stage>.safetensors`"]);
    assert!(!sandbox.path().join("new.safetensors").exists());
}

/// A spiking configuration with the keys of its neurons beside `encoding`, as before version 4.
fn flat(config: &Value) -> Value {
    let mut flat = config["neuron"].as_object().unwrap().clone();
    flat.remove("kind");
    flat.insert("encoding".into(), config["encoding"].clone());
    Value::Object(flat)
}

/// The bytes of a checkpoint with other metadata, or without any, as another program writes it.
fn rewritten(path: &Path, metadata: Option<&Value>) -> Vec<u8> {
    let file = fs::read(path).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let tensors = &file[8 + length..];
    header.remove("__metadata__");
    if let Some(metadata) = metadata {
        let entry = json!({"sha256": sha256(&header, tensors, metadata), "metadata": metadata});
        header.insert("__metadata__".into(), json!({"lasnn": entry.to_string()}));
    }
    let mut text = Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_bytes());
    out.extend(tensors);
    out
}

/// The hash of names, shapes, values and metadata that a checkpoint of this program contains.
fn sha256(header: &Map<String, Value>, tensors: &[u8], metadata: &Value) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in header {
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
