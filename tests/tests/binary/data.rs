//! `lasnn data info` and `lasnn data verify`.

use std::fs;
use std::path::PathBuf;

use lasnn_tests::Sandbox;
use lasnn_tests::real_data;
use lasnn_tests::recipe::{SYNTHETIC, TINY, tiny_with};

/// The words of an error about files that are not the official ones.
const NOT_OFFICIAL: [&str; 4] = ["`cifar10`", "SHA-256", "expected", "official"];

#[test]
fn a_data_set_is_shown_by_its_name() {
    let sandbox = Sandbox::new();
    let info = sandbox.json(&["data", "info", "digits", "--sheet", "sheet.png"]);
    assert_eq!((&info["name"], &info["train"]["images"]), (&"digits".into(), &1437.into()));
    assert_eq!(info["validation"]["images"], 0);
    assert!(sandbox.path().join("sheet.png").is_file());
    let text = sandbox.succeed(&["data", "verify", "digits"]).stdout;
    assert!(text.contains("1437 training, 0 validation and 360 test images"), "{text}");

    let command = "`lasnn data fetch cifar100 --data-dir nothing-here`";
    let missing = ["data", "verify", "cifar100", "--data-dir", "nothing-here"];
    sandbox.fail(&missing, 1, &["`cifar100`", command]);
    for (wrong, words) in [
        ("imagenet", ["`imagenet`", "no data set", "tiny-imagenet"]),
        ("absent.toml", ["absent.toml", "recipe", "No such file"]),
        ("folder", ["`data.folder`", "`path`", "`size`"]),
    ] {
        sandbox.fail(&["data", "info", wrong], 2, &words);
    }
}

/// Only a training needs validation images, to choose an epoch.
#[test]
fn data_without_validation_images_are_shown_but_not_trained_on() {
    let recipe = tiny_with("validation = 16\n", "");
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    let info = sandbox.json(&["data", "info", "tiny.toml"]);
    assert_eq!((&info["train"]["images"], &info["validation"]["images"]), (&80.into(), &0.into()));
    let text = sandbox.succeed(&["data", "verify", "tiny.toml"]).stdout;
    assert!(text.contains("80 training, 0 validation and 24 test images"), "{text}");
    sandbox.fail(&["run", "tiny.toml"], 2, &["tiny.toml", "data.validation is 0"]);
}

#[test]
fn data_that_the_program_makes_need_no_verification() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    assert_eq!(sandbox.json(&["data", "verify", "tiny.toml"])["verified"], "built-in");
}

#[test]
fn real_cifar10_is_verified() {
    let Some(data) = real_data::cifar10("real_cifar10_is_verified") else { return };
    let sandbox = Sandbox::new();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/cifar10/vgg5-cpu.toml");
    let directory = data.to_string_lossy();
    for target in [recipe, "cifar10"] {
        let verified = sandbox.json(&["data", "verify", target, "--data-dir", &directory]);
        assert_eq!(verified["verified"], "official", "{verified}");
    }

    // A copy in which one bit of one pixel is wrong. It can be shown, but it is not CIFAR-10.
    let folder = cifar10_folder(&sandbox);
    for entry in fs::read_dir(data.join("cifar-10-batches-bin")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let batch = folder.join("data_batch_1.bin");
    let mut bytes = fs::read(&batch).unwrap();
    bytes[3073 * 7 + 1000] ^= 1;
    fs::remove_file(&batch).unwrap();
    fs::write(&batch, bytes).unwrap();
    sandbox.fail(&["data", "verify", recipe, "--data-dir", "data"], 1, &NOT_OFFICIAL);
    let info = sandbox.json(&["data", "info", recipe, "--data-dir", "data"]);
    assert_eq!((&info["name"], &info["test"]["images"]), (&"cifar10".into(), &10_000.into()));
}

#[test]
fn well_formed_files_with_other_images_are_not_verified() {
    let recipe = tiny_with(SYNTHETIC, "source = \"cifar10\"");
    let sandbox = Sandbox::with("cifar.toml", &recipe);
    let folder = cifar10_folder(&sandbox);
    let batches = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
    for (number, name) in batches.chain(["test_batch.bin".into()]).enumerate() {
        let mut bytes = vec![number as u8; 10_000 * 3073];
        (0..10_000).for_each(|record| bytes[record * 3073] = (record % 10) as u8);
        fs::write(folder.join(name), bytes).unwrap();
    }
    let classes: String = (0..10).map(|class| format!("class {class}\n")).collect();
    fs::write(folder.join("batches.meta.txt"), classes).unwrap();
    let found = sandbox.json(&["data", "info", "cifar.toml", "--data-dir", "data"]);
    assert_eq!(found["test"]["images"], 10_000, "{found}");
    sandbox.fail(&["data", "verify", "cifar.toml", "--data-dir", "data"], 1, &NOT_OFFICIAL);
}

/// The folder of CIFAR-10 in the data directory `data`, still empty.
fn cifar10_folder(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.path().join("data/cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    folder
}
