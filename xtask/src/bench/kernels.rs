//! `cargo xtask bench`: the criterion benchmarks.

use crate::workspace::{Workspace, finish};

#[derive(clap::Args)]
pub struct KernelArguments {
    /// What to pass on to criterion, for instance `-- scan`
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn kernels(workspace: &Workspace, arguments: &KernelArguments) -> anyhow::Result<()> {
    let mut command = workspace.cargo("bench");
    command.args(["--package", "lasnn-benches", "--locked", "--benches"]);
    if !arguments.arguments.is_empty() {
        command.arg("--").args(&arguments.arguments);
    }
    finish(command)
}
