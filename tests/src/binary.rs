//! The binary under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of `lasnn`, built from the sources as they are.
///
/// Cargo builds a package's binaries for that package's own tests only, so the first call asks
/// cargo for it. After `cargo test --workspace` that is a matter of linking, or of nothing.
///
/// # Panics
///
/// Panics if it does not build; cargo has then said why.
pub fn lasnn() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--manifest-path", manifest, "--profile", &profile()]);
    // The packages and targets decide which features cargo gives to shared dependencies. With the
    // whole workspace and one test they are those of `cargo test --workspace`, and nothing that it
    // has built, Burn above all, is built again with others.
    command.args(["--workspace", "--bin", "lasnn", "--test", "architecture"]);
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

/// The profile that this test was built with: its executable lies in `<target>/<profile>/deps`.
fn profile() -> String {
    let executable = env::current_exe().unwrap_or_default();
    let folder = executable.parent().and_then(Path::parent).and_then(Path::file_name);
    match folder.map(|name| name.to_string_lossy()) {
        Some(name) if name != "debug" => name.into_owned(),
        _ => "dev".into(),
    }
}
