//! Checkpoint files: what is written is read back exactly, and every damage gives a typed error.

use std::fs;
use std::path::Path;

use burn::tensor::TensorData;
use lasnn_training::{Checkpoint, CheckpointError};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

fn checkpoint() -> Checkpoint {
    let values = vec![1.5f32, -0.0, f32::MIN_POSITIVE / 3.0, f32::MAX, f32::INFINITY, 0.1];
    Checkpoint {
        state: [
            ("layers.0.weight".into(), TensorData::new(values, [2, 3])),
            ("layers.1.threshold".into(), TensorData::from([0.7f32])),
            ("nothing".into(), TensorData::new(Vec::<f32>::new(), [0, 4])),
        ]
        .into(),
        metadata: json!({"epoch": 3, "accuracy": 0.1 + 0.2, "text": "[train]\nepochs = 3 # é"}),
    }
}

fn load(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    fs::write(&path, bytes).unwrap();
    Checkpoint::load(&path)
}

fn bytes() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    checkpoint().save(&path).unwrap();
    fs::read(&path).unwrap()
}

#[test]
fn a_checkpoint_is_read_as_it_was_written() {
    let loaded = load(&bytes()).unwrap();
    assert_eq!(loaded, checkpoint());
    assert_eq!(
        loaded.state["layers.0.weight"].as_bytes(),
        checkpoint().state["layers.0.weight"].as_bytes()
    );
    assert_eq!(bytes(), bytes());
}

#[test]
fn metadata_can_be_read_without_the_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let whole = bytes();
    // The file is cut before the tensors, which are its last 28 bytes.
    fs::write(&path, &whole[..whole.len() - 28]).unwrap();
    assert_eq!(Checkpoint::peek(&path).unwrap(), checkpoint().metadata);
    for damaged in [&whole[..5], &whole[..100], b"\xff\xff\xff\xff\xff\xff\xff\xff{}"] {
        fs::write(&path, damaged).unwrap();
        Checkpoint::peek(&path).unwrap_err();
    }
}

#[test]
fn other_programs_can_read_it() {
    let bytes = bytes();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("layers.1.threshold").unwrap();
    assert_eq!(
        (view.dtype(), view.shape(), view.data()),
        (Dtype::F32, &[1][..], &0.7f32.to_le_bytes()[..])
    );
}

#[test]
fn a_file_of_another_program_loads_without_metadata() {
    let data = 2.5f32.to_le_bytes();
    let view = TensorView::new(Dtype::F32, vec![1], &data).unwrap();
    let bytes = safetensors::serialize([("w", view)], None).unwrap();
    let loaded = load(&bytes).unwrap();
    assert_eq!(loaded.metadata, serde_json::Value::Null);
    assert_eq!(loaded.state["w"], TensorData::from([2.5f32]));
}

#[test]
fn a_write_replaces_the_old_file_and_leaves_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    fs::write(&path, "old").unwrap();
    checkpoint().save(&path).unwrap();
    assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}

#[test]
fn a_write_that_fails_keeps_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    checkpoint().save(&path).unwrap();
    let mut wrong = checkpoint();
    wrong.state.insert("labels".into(), TensorData::from([1i32]));
    assert!(matches!(
        wrong.save(&path).unwrap_err(),
        CheckpointError::WrongType { name, found, .. } if name == "labels" && found == "I32"
    ));
    assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
    let error = checkpoint().save(&dir.path().join("no/such/directory")).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
}

#[test]
fn a_section_is_found_by_its_whole_prefix() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.put_section("model", [("w".to_string(), TensorData::from([1f32]))].into());
    checkpoint.put_section("models", [("w".to_string(), TensorData::from([2f32]))].into());
    assert_eq!(checkpoint.take_section("model")["w"], TensorData::from([1f32]));
    assert_eq!(checkpoint.state.keys().collect::<Vec<_>>(), ["models.w"]);
}

/// The message of the error for a file with this content.
fn message(bytes: &[u8]) -> String {
    let message = load(bytes).unwrap_err().to_string();
    assert!(message.contains("a.safetensors"), "{message}");
    message
}

#[test]
fn each_kind_of_damage_has_its_error() {
    let good = bytes();
    let length = good.len();

    let error = Checkpoint::load(Path::new("no/such/file")).unwrap_err();
    assert_eq!(error.to_string(), "no/such/file: no such checkpoint");
    assert!(message(&good[..5]).contains("5 bytes long, expected at least 8"));
    assert!(message(&good[..40]).contains("40 bytes long, expected at least"));
    let expected = format!("{} bytes long, expected {length} by its header", length - 1);
    assert!(message(&good[..length - 1]).contains(&expected));
    assert!(message(&[&good[..], b"x"].concat()).contains("the file is damaged"));
    assert!(message(b"PK\x03\x04 a zip archive").contains("the header claims"));
    assert!(message(b"\x02\0\0\0\0\0\0\0{]").contains("not a safetensors file"));

    let mut flipped = good.clone();
    flipped[length - 1] ^= 1;
    assert!(message(&flipped).contains("SHA-256"));

    let data = [0u8; 2];
    let view = TensorView::new(Dtype::BF16, vec![1], &data).unwrap();
    let half = safetensors::serialize([("w", view)], None).unwrap();
    assert!(message(&half).contains("tensor `w` is of type BF16, expected F32"));

    // Lengths whose sum overflows must not cause a panic.
    let sizes = (0..16u64).map(|i| {
        let (from, to) = (i << 60, ((i + 1) as u128) << 60);
        let to = to.min(u128::from(u64::MAX) - 3);
        let count = (to - u128::from(from)) / 4;
        format!(r#""t{i:02}":{{"dtype":"F32","shape":[{count}],"data_offsets":[{from},{to}]}}"#)
    });
    let header = format!("{{{}}}", sizes.collect::<Vec<_>>().join(","));
    let mut hostile = (header.len() as u64).to_le_bytes().to_vec();
    hostile.extend(header.bytes());
    assert!(message(&hostile).contains("the file is damaged"), "{}", message(&hostile));

    let wrong = Checkpoint { metadata: json!({"epoch": "three"}), ..Default::default() };
    let error = wrong.metadata::<std::collections::BTreeMap<String, u32>>(Path::new("a"));
    assert!(error.unwrap_err().to_string().contains("a: metadata: invalid type"));
}

proptest! {
    #[test]
    fn a_cut_file_is_an_error(cut in 0.0..1.0) {
        let bytes = bytes();
        let kept = (bytes.len() as f64 * cut) as usize;
        prop_assert!(load(&bytes[..kept]).is_err());
    }

    /// A flipped bit gives an error. In a byte without meaning it may leave the tensors as they
    /// are.
    #[test]
    fn a_flipped_bit_never_gives_other_tensors(place in 0.0..1.0, bit in 0..8u8) {
        let mut bytes = bytes();
        let place = (bytes.len() as f64 * place) as usize;
        bytes[place] ^= 1 << bit;
        if let Ok(loaded) = load(&bytes) {
            prop_assert_eq!(loaded.state, checkpoint().state);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        length in 0..200u64,
    ) {
        let _ = load(&bytes);
        if let Some(first) = bytes.first_chunk_mut::<8>() {
            *first = length.to_le_bytes();
        }
        prop_assert!(load(&bytes).is_err() || length == 2);
    }

    /// Floats are read back from the metadata with the same bits.
    #[test]
    fn floats_survive_the_metadata(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        Checkpoint { metadata: json!([value]), ..Default::default() }.save(&path).unwrap();
        let [loaded] = Checkpoint::load(&path).unwrap().metadata::<[f64; 1]>(&path).unwrap();
        prop_assert_eq!(loaded.to_bits(), value.to_bits());
    }
}
