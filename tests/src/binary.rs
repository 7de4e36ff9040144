//! The binary under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of `lasnn`, built from the current sources.
///
/// Cargo builds the binaries of a package only for the tests of that package, so the first call
/// starts cargo. After the build of all tests only the binary itself is left to compile.
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
    command.args(["build", "--locked", "--manifest-path", manifest, "--profile", &profile()]);
    // The selected packages and targets decide which features cargo enables in shared dependencies.
    // These packages and one test give the features of `cargo xtask test`. With others, cargo would
    // build many dependencies a second time, among them Burn.
    command.args(["--workspace", "--exclude", "lasnn-benches"]);
    command.args(["--bin", "lasnn", "--test", "architecture"]);
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

/// The profile of this test. Its executable is in `<target>/<profile>/deps`.
fn profile() -> String {
    let executable = env::current_exe().unwrap_or_default();
    let folder = executable.parent().and_then(Path::parent).and_then(Path::file_name);
    match folder.map(|name| name.to_string_lossy()) {
        Some(name) if name != "debug" => name.into_owned(),
        _ => "dev".into(),
    }
}
