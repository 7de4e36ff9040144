//! `cargo xtask test`: all tests.

use std::env;

use crate::workspace::{Workspace, finish};

#[derive(clap::Args)]
pub struct TestArguments {
    /// Test the GPU kernels instead, on a Vulkan driver; Mesa's software driver will do
    #[arg(long)]
    vulkan: bool,
}

pub fn test(workspace: &Workspace, arguments: &TestArguments) -> anyhow::Result<()> {
    let mut command = workspace.cargo("test");
    command.arg("--locked");
    if arguments.vulkan {
        command.args(["--package", "lasnn-neurons", "--features", "vulkan"]);
    } else {
        command.arg("--workspace");
        if env::var_os("LASNN_DATA_DIR").is_none() {
            eprintln!(
                "note: LASNN_DATA_DIR is not set, so tests on the real CIFAR-10 images are skipped"
            );
        }
    }
    finish(command)
}
