//! The binary under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of `lasnn`, built from the current sources.
///
/// Cargo builds the binaries of a package only for the tests of that package, so the first call
/// starts cargo. It builds as `cargo xtask run` and `cargo xtask test` do, with one profile and the
/// same features of all dependencies. So after these commands nothing is left to build.
///
/// # Panics
///
/// Panics if the build fails. Cargo prints the reason.
pub fn lasnn() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--manifest-path", manifest, "--profile", "release", "--locked"]);
    command.args(["--workspace", "--exclude=lasnn-benches", "--exclude=lasnn-tests"]);
    command.args(["--bin", "lasnn"]);
    // Cargo sets these variables to describe the package of this test. The build script of `ring`
    // runs again when one of them changes, and then everything above it is built again.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&*name);
        }
    }
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("cannot start cargo: {error}"));
    assert!(output.status.success(), "lasnn does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "lasnn")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("cargo built no binary `lasnn`"))
}
