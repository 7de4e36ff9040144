//! The edges between crates that ARCHITECTURE.md promises not to exist, checked over cargo's own view
//! of the workspace. Dependencies of tests are not counted: a test may need a network to test with.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Every package of the workspace, and which other packages of the workspace it may know.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("lasnn-core", &["lasnn-kernels"]),
    ("lasnn-datasets", &["lasnn-core"]),
    ("lasnn-kernels", &[]),
    ("lasnn-backend", &["lasnn-kernels"]),
    ("lasnn-neurons", &["lasnn-core", "lasnn-kernels", "lasnn-backend"]),
    ("lasnn-models", &["lasnn-core", "lasnn-backend"]),
    ("lasnn-conversion", &["lasnn-core", "lasnn-backend", "lasnn-kernels", "lasnn-neurons"]),
    ("lasnn-distillation", &["lasnn-core"]),
    ("lasnn-training", &["lasnn-core", "lasnn-backend"]),
    (
        "lasnn-cli",
        &[
            "lasnn-core",
            "lasnn-backend",
            "lasnn-datasets",
            "lasnn-neurons",
            "lasnn-models",
            "lasnn-conversion",
            "lasnn-distillation",
            "lasnn-training",
        ],
    ),
    ("xtask", &[]),
    ("lasnn-tests", &[]),
    (
        "lasnn-benches",
        &[
            "lasnn-backend",
            "lasnn-conversion",
            "lasnn-core",
            "lasnn-datasets",
            "lasnn-kernels",
            "lasnn-models",
            "lasnn-neurons",
            "lasnn-training",
        ],
    ),
];

/// What computes. Everything else is generic over Burn's `Backend` trait.
const BACKENDS: &[&str] = &[
    "burn-flex",
    "burn-ndarray",
    "burn-cubecl",
    "burn-cuda",
    "burn-wgpu",
    "burn-autodiff",
    "cubecl",
];

/// The features of Burn that bring a backend along.
const BACKEND_FEATURES: &[&str] =
    &["flex", "ndarray", "cuda", "vulkan", "wgpu", "metal", "rocm", "tch"];

/// The only packages that may name a backend: the kernels, the device choice, and what is measured.
const KNOW_BACKENDS: &[&str] = &["lasnn-neurons", "lasnn-backend", "lasnn-cli", "lasnn-benches"];

#[test]
fn crates_know_only_what_they_may() {
    let may_know: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    for package in packages() {
        let Some(may) = may_know.get(package.name.as_str()) else {
            panic!("`{}` is not in the table MAY_KNOW of this test", package.name);
        };
        for known in dependencies(&package).filter(|name| may_know.contains_key(name)) {
            assert!(may.contains(&known), "`{}` must not depend on `{known}`", package.name);
        }
    }
}

#[test]
fn backends_are_known_to_the_kernels_and_the_device_choice_only() {
    for package in packages() {
        if KNOW_BACKENDS.contains(&package.name.as_str()) {
            continue;
        }
        for known in dependencies(&package) {
            assert!(!BACKENDS.contains(&known), "`{}` must not depend on `{known}`", package.name);
        }
        for burn in package.dependencies.iter().filter(|dependency| {
            dependency.name == "burn" && dependency.kind != DependencyKind::Development
        }) {
            for feature in &burn.features {
                assert!(
                    !BACKEND_FEATURES.contains(&feature.as_str()),
                    "`{}` must not enable `burn/{feature}`",
                    package.name
                );
            }
        }
    }
}

#[test]
fn the_task_runner_and_the_data_sets_link_no_burn() {
    for package in packages() {
        if ["xtask", "lasnn-tests"].contains(&package.name.as_str()) {
            // What the tests of these two need is built before every run of them, so it counts too.
            for dependency in &package.dependencies {
                assert!(!is_burn(&dependency.name), "`{}`: `{}`", package.name, dependency.name);
            }
        }
        if package.name == "lasnn-datasets" {
            for known in dependencies(&package) {
                assert!(!is_burn(known), "`lasnn-datasets` must not depend on `{known}`");
            }
        }
    }
}

fn packages() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap().packages
}

/// What a package is built with, without what only its tests need.
fn dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
}

fn is_burn(name: &str) -> bool {
    name.starts_with("burn") || name.starts_with("cubecl")
}
