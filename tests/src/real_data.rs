//! CIFAR-10, which is no part of the repository, and what a test does without it.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A copy of the data sets beside the repository, which `.ci/run` unpacks.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

/// The data directory with the real CIFAR-10, as `LASNN_DATA_DIR` names it. Without that variable
/// this is `None`, and one line says that `test` is skipped.
///
/// # Panics
///
/// Panics in continuous integration (the variable `CI` is set) if the data lie beside the
/// repository. There, a skipped test means that the setup is broken.
#[track_caller]
pub fn cifar10(test: &str) -> Option<PathBuf> {
    let directory = env::var_os("LASNN_DATA_DIR").filter(|directory| !directory.is_empty());
    let is_ci = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
    assert!(
        directory.is_some() || !is_ci || !Path::new(BESIDE).exists(),
        "{test}: CI is set and {BESIDE} exists, so LASNN_DATA_DIR must be set"
    );
    if directory.is_none() {
        skipped(&format!("{test}: LASNN_DATA_DIR is not set"));
    }
    directory.map(PathBuf::from)
}

/// Prints which test is skipped and why. It writes to the standard error itself, because the test
/// harness shows nothing that a passing test prints with `eprintln!`.
pub fn skipped(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").ok();
}
