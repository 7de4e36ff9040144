//! `lasnn inspect` and `lasnn check-backend`, and how a recipe is found.

use std::fs;
use std::path::{Path, PathBuf};

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::cells;
use lasnn_tests::real_data;
use lasnn_tests::recipe::TINY;

/// The layers of VGG5 with weights, and their numbers of weights for images of 3x32x32 in 10
/// classes, computed by hand: three convolutions with kernels of 3x3, and three matrices, all
/// without biases. Two poolings of 2x2 leave 8x8 positions to the first matrix.
const VGG5: [(&str, &str, u64); 6] = [
    ("layers.0", "conv", 9 * 3 * 64),
    ("layers.2", "conv", 9 * 64 * 128),
    ("layers.4", "conv", 9 * 128 * 128),
    ("layers.6", "linear", 128 * 8 * 8 * 4096),
    ("layers.8", "linear", 4096 * 4096),
    ("layers.10", "classifier", 4096 * 10),
];

#[test]
fn a_network_is_shown_with_the_weights_of_each_layer() {
    let sandbox = Sandbox::new();
    let all: u64 = VGG5.iter().map(|(_, _, weights)| weights).sum();
    assert_eq!(sandbox.json(&["inspect", "vgg5"])["parameters"], all);
    let shown = sandbox.succeed(&["inspect", "vgg5"]).stdout;
    assert!(shown.contains(&format!(" {all} parameters")), "{shown}");
    for (layer, kind, weights) in VGG5 {
        let row = cells(&shown, &format!("{layer} "));
        assert_eq!(row[1], kind, "{shown}");
        assert!(row.contains(&weights.to_string()), "{weights} weights of {layer}:\n{shown}");
    }
}

#[test]
fn a_checkpoint_is_shown_with_the_name_of_its_network() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let file = sandbox.only_run("tiny").join("checkpoints/teacher.safetensors");
    let shown = sandbox.succeed(&["inspect", &file.to_string_lossy()]).stdout;
    assert!(shown.contains("tiny-teacher"), "{shown}");
}

#[test]
fn the_kernels_agree_with_the_reference() {
    let sandbox = Sandbox::new();
    let checked = sandbox.json(&["check-backend"]);
    assert_eq!((&checked["backend"], &checked["right"]), (&"flex".into(), &true.into()));
    let cases = checked["cases"].as_array().unwrap();
    assert!(!cases.is_empty() && cases.iter().all(|case| case["right"] == true), "{checked:#}");
}

#[test]
fn a_recipe_is_found_by_its_name() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path().join("configs/small")).unwrap();
    sandbox.write("configs/small/tiny.toml", TINY);
    sandbox.succeed(&["train", "teacher", "small/tiny", "--quiet"]);
    let eval = sandbox.json(&["eval", "small/tiny", "--stage", "teacher"]);
    assert_eq!(eval["recipe"], "tiny");
    assert_eq!(sandbox.json(&["data", "verify", "small/tiny"])["verified"], "built-in");
    assert_eq!(sandbox.json(&["inspect", "small/tiny"])["teacher"]["network"], "tiny-teacher");
    assert_eq!(sandbox.json(&["runs", "small/tiny"])[0]["recipe"], "tiny");

    let words = ["`small/huge`", "No such file", "names small/tiny"];
    sandbox.fail(&["run", "small/huge"], 2, &words);
    // A file of that name has priority.
    sandbox.write("small", "name = 1");
    sandbox.fail(&["run", "small"], 2, &["small:1:8: `name`"]);
}

#[test]
fn the_recipes_of_the_repository_fit_their_images() {
    let sandbox = Sandbox::new();
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let mut checked = 0;
    for recipe in recipes(configs.as_ref()) {
        let name = recipe.to_string_lossy();
        // A recipe may extend another, so its own text need not name its data set.
        let is_on_cifar10 = recipe.components().any(|part| part.as_os_str() == "cifar10");
        if is_on_cifar10 && real_data::cifar10(&name).is_none() {
            continue;
        }
        sandbox.succeed(&["inspect", &name]);
        checked += 1;
    }
    assert!(checked > 0, "no recipe in {configs}");
}

/// All recipes in a folder and in the folders below it.
pub fn recipes(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| recipes(folder));
    files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
        .chain(below)
        .collect()
}
