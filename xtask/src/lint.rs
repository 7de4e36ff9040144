//! `cargo xtask lint`: everything that is checked without running the code.

use std::path::Path;
use std::process::Command;

use crate::workspace::{Workspace, finish, run_for_output};
use crate::{results, style};

/// Another kind of processor for which the kernels have code of their own.
const OTHER_TARGET: &str = "aarch64-unknown-linux-gnu";

pub fn lint(workspace: &Workspace) -> anyhow::Result<()> {
    // First what takes no build.
    style::style(workspace)?;
    results::check(&workspace.root.join("results"))?;

    let mut format = workspace.cargo("fmt");
    format.args(["--all", "--check"]);
    finish(format)?;

    let mut clippy = workspace.cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    finish(clippy)?;

    let mut documentation = workspace.cargo("doc");
    documentation.args(["--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
    finish(documentation)?;

    let mut features = workspace.cargo("check");
    features.args(["--package", "lasnn-cli", "--features", "ndarray,cuda,vulkan", "--locked"]);
    finish(features)?;

    // `check` needs no C compiler for the other processor, but `build` would.
    if !is_installed(OTHER_TARGET) {
        eprintln!(
            "note: the kernels are not checked for {OTHER_TARGET}, which is not installed; \
             `rustup target add {OTHER_TARGET}` installs it"
        );
        return Ok(());
    }
    let mut other = workspace.cargo("check");
    for kernels in ["lasnn-gemm", "lasnn-dense-kernels", "lasnn-spiking-kernels"] {
        other.args(["--package", kernels]);
    }
    other.args(["--target", OTHER_TARGET, "--locked"]);
    finish(other)
}

/// Whether rustc has the standard library of a target.
fn is_installed(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]);
    run_for_output(rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}
