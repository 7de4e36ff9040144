//! `cargo xtask test`: all tests.

use std::env;
use std::process::{Command, Stdio};

use crate::workspace::{PROFILE, Workspace, executables, finish, run_for_output};

#[derive(clap::Args)]
pub struct TestArguments {
    /// Test only the GPU kernels, on a Vulkan driver; Mesa's software driver is enough
    #[arg(long)]
    vulkan: bool,
    /// Test only `unsafe` code, under Valgrind, which checks what it reads and writes
    #[arg(long, conflicts_with = "vulkan")]
    memory: bool,
}

pub fn test(workspace: &Workspace, arguments: &TestArguments) -> anyhow::Result<()> {
    if arguments.memory {
        return memory(workspace);
    }
    if arguments.vulkan {
        let mut command = workspace.cargo("test");
        command.args(["--profile", PROFILE, "--locked"]);
        for package in ["lasnn-backend", "lasnn-neurons", "lasnn-snn"] {
            command.args(["--package", package, "--features", &format!("{package}/vulkan")]);
        }
        // The tests compare `ndarray`, too. Those of `lasnn-snn` always have it.
        command.args(["--features", "lasnn-backend/ndarray,lasnn-neurons/ndarray"]);
        // Examples need no GPU.
        command.args(["--lib", "--test", "parity", "--test", "neurons", "--test", "snn"]);
        return finish(command);
    }
    if env::var_os("LASNN_DATA_DIR").is_none() {
        eprintln!(
            "note: LASNN_DATA_DIR is not set; tests with the real CIFAR-10 images are skipped"
        );
    }
    let mut crates = workspace.cargo("test");
    crates.args(Workspace::SHARED_BUILD);
    finish(crates)?;
    examples(workspace)?;
    // These start the binary `lasnn` and link none of its dependencies.
    let mut binary = workspace.cargo("test");
    binary.args(["--profile", PROFILE, "--locked", "--package", "lasnn-tests"]);
    finish(binary)
}

/// Runs the example of every library crate.
fn examples(workspace: &Workspace) -> anyhow::Result<()> {
    let mut build = workspace.cargo("build");
    build.args(Workspace::SHARED_BUILD).args(["--examples"]);
    build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let messages = run_for_output(build)?;
    for program in executables(&messages, |_| true) {
        finish(Command::new(program))?;
    }
    Ok(())
}

/// The tests that run `unsafe` code which Valgrind can check, as pairs of a target and a part of
/// the tests' names. The code calls matrix products, prefetches, passes memory from tensor to
/// tensor and maps files into memory.
///
/// Valgrind emulates a processor with AVX2, so it cannot check the products of packed bfloat16 and
/// of AMX tiles. They assert their bounds before each access, and tests compare them with scalar
/// code on processors that have the instructions. The `unsafe` in `lasnn-cli`'s `allocator.rs` does
/// not run: it gives jemalloc a constant text.
const UNSAFE_TESTS: &[(&str, &str)] = &[
    ("lasnn_gemm", ""),
    ("lasnn_dense_kernels", ""),
    ("lasnn_spiking_kernels", ""),
    ("lasnn_backend", ""),
    ("lasnn_datasets", "packed::"),
    ("spiking", ""),
    ("parity", ""),
];

/// Random cases of a property test. They are few because Valgrind is about fifty times slower.
const PROPTEST_CASES: &str = "4";

/// Parts of the names of large tests, which are skipped. Other tests run the same code on small
/// cases.
const LARGE_TESTS: &[&str] = &[
    "sums_over_its_images",
    "threads_change",
    "number_of_threads",
    "wide_layers",
    "a_hundred",
    "all_levels",
];

/// Runs the tests of `unsafe` code under Valgrind.
fn memory(workspace: &Workspace) -> anyhow::Result<()> {
    let mut build = workspace.cargo("test");
    build.args(Workspace::SHARED_BUILD);
    build.args(["--lib", "--test", "spiking", "--test", "parity"]);
    build.args(["--no-run", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit());
    let messages = run_for_output(build)?;
    for &(target, tests) in UNSAFE_TESTS {
        for program in executables(&messages, |name| name == target) {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=no"]).arg(program);
            valgrind.arg(tests).args(LARGE_TESTS.iter().flat_map(|name| ["--skip", name]));
            valgrind.env("PROPTEST_CASES", PROPTEST_CASES).env("RAYON_NUM_THREADS", "2");
            finish(valgrind)?;
        }
    }
    Ok(())
}
