//! `cargo xtask test`: all tests.

use std::env;
use std::process::{Command, Stdio};

use crate::workspace::{Workspace, executables, finish, run_for_output};

#[derive(clap::Args)]
pub struct TestArguments {
    /// Test the GPU kernels instead, on a Vulkan driver; Mesa's software driver will do
    #[arg(long)]
    vulkan: bool,
    /// Test the CPU kernels instead, under Valgrind, which sees what `unsafe` code reads and writes
    #[arg(long, conflicts_with = "vulkan")]
    memory: bool,
}

pub fn test(workspace: &Workspace, arguments: &TestArguments) -> anyhow::Result<()> {
    if arguments.memory {
        return memory(workspace);
    }
    let mut command = workspace.cargo("test");
    command.arg("--locked");
    if arguments.vulkan {
        command.args(["--package", "lasnn-backend", "--package", "lasnn-neurons"]);
        command.args(["--features", "lasnn-backend/vulkan,lasnn-neurons/vulkan"]);
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

/// Which tests, by target and by what their names contain, run the `unsafe` code that Valgrind can see: calls of
/// the matrix product, prefetches, memory that goes from tensor to tensor, and the map of a file.
///
/// What it cannot see are products of bfloat16 in pairs and in tiles (`product/pairs.rs` and `product/amx.rs`
/// of `lasnn-kernels`), since it shows programs a processor with AVX2. They assert their bounds before each access, and
/// are compared with plain numbers by tests on processors that have the instructions. And `lasnn-cli`'s `allocator.rs`
/// is no code that runs: it gives jemalloc a constant text.
const UNSAFE: &[(&str, &str)] = &[
    ("lasnn_kernels", ""),
    ("lasnn_backend", ""),
    ("lasnn_datasets", "packed::"),
    ("spiking", ""),
    ("parity", ""),
];

/// Random cases of a property test: Valgrind is some fifty times slower.
const CASES: &str = "4";

/// Tests that are large by nature; the same code runs in the others on small cases.
const LARGE: &[&str] =
    &["more_images", "threads_change", "wide_layers", "a_hundred_steps", "instructions"];

/// Runs the tests of the kernels under Valgrind.
fn memory(workspace: &Workspace) -> anyhow::Result<()> {
    let mut build = workspace.cargo("test");
    // The whole workspace's features, or Burn would be built twice.
    build.args(["--locked", "--workspace", "--lib", "--test", "spiking", "--test", "parity"]);
    build.args(["--no-run", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit());
    let messages = run_for_output(build)?;
    for &(target, tests) in UNSAFE {
        for program in executables(&messages, |name| name == target) {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=no"]).arg(program);
            valgrind.arg(tests).args(LARGE.iter().flat_map(|name| ["--skip", name]));
            valgrind.env("PROPTEST_CASES", CASES).env("RAYON_NUM_THREADS", "2");
            finish(valgrind)?;
        }
    }
    Ok(())
}
