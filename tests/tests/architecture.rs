//! The edges between crates: a crate may depend only on the crates that ARCHITECTURE.md allows.
//!
//! The test reads cargo's description of the workspace. Development dependencies do not count,
//! because a test may need a network to test with.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Every package of the workspace, and the other packages of the workspace that it may depend on.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("lasnn-core", &[]),
    ("lasnn-datasets", &["lasnn-core"]),
    ("lasnn-gemm", &["lasnn-core"]),
    ("lasnn-dense-kernels", &["lasnn-core", "lasnn-gemm"]),
    ("lasnn-spiking-kernels", &["lasnn-core", "lasnn-gemm"]),
    ("lasnn-nn", &["lasnn-core"]),
    ("lasnn-backend", &["lasnn-core", "lasnn-gemm", "lasnn-dense-kernels"]),
    (
        "lasnn-neurons",
        &["lasnn-core", "lasnn-nn", "lasnn-gemm", "lasnn-spiking-kernels", "lasnn-backend"],
    ),
    ("lasnn-models", &["lasnn-core", "lasnn-nn", "lasnn-backend"]),
    (
        "lasnn-snn",
        &["lasnn-core", "lasnn-nn", "lasnn-spiking-kernels", "lasnn-backend", "lasnn-neurons"],
    ),
    (
        "lasnn-conversion",
        &["lasnn-core", "lasnn-nn", "lasnn-backend", "lasnn-neurons", "lasnn-snn"],
    ),
    ("lasnn-distillation", &["lasnn-core", "lasnn-nn"]),
    ("lasnn-training", &["lasnn-core", "lasnn-nn", "lasnn-backend"]),
    (
        "lasnn-cli",
        &[
            "lasnn-core",
            "lasnn-nn",
            "lasnn-backend",
            "lasnn-datasets",
            "lasnn-neurons",
            "lasnn-models",
            "lasnn-snn",
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
            "lasnn-core",
            "lasnn-nn",
            "lasnn-gemm",
            "lasnn-dense-kernels",
            "lasnn-spiking-kernels",
            "lasnn-backend",
            "lasnn-datasets",
            "lasnn-models",
            "lasnn-neurons",
            "lasnn-snn",
            "lasnn-distillation",
            "lasnn-training",
        ],
    ),
];

/// Packages that implement a backend. All other code is generic over Burn's `Backend` trait.
const BACKENDS: &[&str] = &[
    "burn-flex",
    "burn-ndarray",
    "burn-cubecl",
    "burn-cuda",
    "burn-wgpu",
    "burn-autodiff",
    "cubecl",
];

/// The features of Burn that add a backend.
const BACKEND_FEATURES: &[&str] =
    &["flex", "ndarray", "cuda", "vulkan", "wgpu", "metal", "rocm", "tch"];

/// The only packages that may name a backend: the kernels, the choice of the device, and the
/// benchmarks.
const KNOW_BACKENDS: &[&str] = &["lasnn-neurons", "lasnn-backend", "lasnn-cli", "lasnn-benches"];

#[test]
fn crates_depend_only_on_allowed_crates() {
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
fn only_kernels_device_choice_and_benchmarks_depend_on_a_backend() {
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

/// Packages whose whole dependency tree is free of Burn.
const WITHOUT_BURN: &[&str] = &[
    "lasnn-core",
    "lasnn-datasets",
    "lasnn-gemm",
    "lasnn-dense-kernels",
    "lasnn-spiking-kernels",
    "xtask",
    "lasnn-tests",
];

/// `Cargo.lock` lists the dependencies of every package for all features, platforms and tests, so
/// the test sees more than any single build links.
#[test]
fn contracts_data_sets_and_kernels_do_not_depend_on_burn() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let lock: toml::Table = std::fs::read_to_string(lock).unwrap().parse().unwrap();
    let mut tree: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let known = tree.entry(package["name"].as_str().unwrap()).or_default();
        // An entry is `name`, or `name version` where the lock has several versions.
        let dependencies = package.get("dependencies").and_then(|list| list.as_array());
        let names = dependencies.into_iter().flatten().filter_map(|entry| entry.as_str());
        known.extend(names.filter_map(|entry| entry.split(' ').next()));
    }
    let reached_from = |root: &'static str| {
        let mut reached = BTreeSet::from([root]);
        let mut open = vec![root];
        while let Some(name) = open.pop() {
            open.extend(tree[name].iter().filter(|&&known| reached.insert(known)));
        }
        reached
    };
    for root in WITHOUT_BURN {
        let burn: Vec<_> = reached_from(root).into_iter().filter(|name| is_burn(name)).collect();
        assert!(burn.is_empty(), "`{root}` depends on {burn:?}");
    }
    assert!(
        reached_from("lasnn-nn").iter().any(|name| is_burn(name)),
        "the walk over the tree finds nothing"
    );
}

fn packages() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap().packages
}

/// The dependencies of a package, except those of its tests only.
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
