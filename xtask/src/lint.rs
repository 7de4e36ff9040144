//! `cargo xtask lint`: everything that is checked without running the code.

use crate::workspace::{Workspace, finish};

pub fn lint(workspace: &Workspace) -> anyhow::Result<()> {
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
    features.args(["--package", "lasnn-cli", "--features", "cuda,vulkan", "--locked"]);
    finish(features)
}
