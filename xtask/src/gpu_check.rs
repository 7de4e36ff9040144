//! `cargo xtask gpu-check`: packs a folder for a machine with an NVIDIA GPU.
//!
//! The machine needs the driver, the NVRTC library and CUDA's headers, but no toolchain and no
//! network. The folder holds the binary, a script and two recipes, one that checks training and one
//! that measures its speed. It needs no data: the first recipe trains on the digits in the binary,
//! the second on synthetic images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};

use crate::workspace::{Workspace, executables, run_for_output};

/// The largest size of the folder, in bytes, which many job systems accept as an upload.
const LIMIT: u64 = 64 * 1024 * 1024;

const SCRIPT: &str = include_str!("gpu_check.sh");

#[derive(clap::Args)]
pub struct GpuCheckArguments {
    /// The folder to write
    #[arg(long, default_value = "target/gpu-check", value_name = "DIR")]
    out: PathBuf,
}

/// The folder is too large for an upload.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge {
    found: u64,
    limit: u64,
    largest: PathBuf,
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the folder holds {} bytes, expected at most {}; its largest file is {}",
            self.found,
            self.limit,
            self.largest.display()
        )
    }
}

impl std::error::Error for TooLarge {}

pub fn gpu_check(workspace: &Workspace, arguments: &GpuCheckArguments) -> anyhow::Result<()> {
    let binary = build(workspace)?;
    let recipes = ["gpu-check", "gpu-speed"]
        .map(|name| workspace.root.join("configs").join(name).with_extension("toml"));
    let files = pack(&arguments.out, &binary, &recipes)?;
    let size = check_size(&files, LIMIT)?;
    let mib = size as f64 / (1024.0 * 1024.0);
    eprintln!(
        "wrote {} ({mib:.1} MiB); on the machine with the GPU run `sh check.sh` in it",
        arguments.out.display()
    );
    Ok(())
}

/// Builds `lasnn` with CUDA and returns the path of the binary.
///
/// The compiler is told to strip symbols, a fifth of the binary, because cargo ignores the
/// profile's `strip` for a package with its own optimisation level, as `lasnn-cli` has.
fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut command = workspace.cargo("rustc");
    command.args(["--release", "--locked", "--package", "lasnn-cli", "--features", "cuda"]);
    command.args(["--bin", "lasnn", "--message-format=json-render-diagnostics"]);
    command.args(["--", "-C", "strip=symbols"]).stderr(Stdio::inherit());
    let messages = run_for_output(command)?;
    match executables(&messages, |target| target == "lasnn").pop() {
        Some(path) => Ok(path),
        None => bail!("cargo built no binary `lasnn`"),
    }
}

/// Copies binary, recipes and script to `folder` and returns their paths. Other files in the
/// folder, such as runs of an earlier check, stay.
fn pack(folder: &Path, binary: &Path, recipes: &[PathBuf; 2]) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("cannot write to {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    let [check, speed] = recipes;
    let copies = [
        (binary, folder.join("lasnn")),
        (check, folder.join("recipe.toml")),
        (speed, folder.join("speed.toml")),
    ];
    for (from, to) in &copies {
        fs::copy(from, to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    let script = folder.join("check.sh");
    fs::write(&script, SCRIPT).with_context(failed)?;
    Ok(copies.into_iter().map(|(_, to)| to).chain([script]).collect())
}

/// The size of all files, in bytes.
///
/// # Errors
///
/// [`TooLarge`] if it is above `limit`.
fn check_size(files: &[PathBuf], limit: u64) -> anyhow::Result<u64> {
    let mut sizes = Vec::with_capacity(files.len());
    for file in files {
        let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
        sizes.push((size.len(), file));
    }
    let found = sizes.iter().map(|(size, _)| size).sum();
    match sizes.iter().max() {
        Some((_, largest)) if found > limit => {
            Err(TooLarge { found, limit, largest: largest.to_path_buf() }.into())
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(binary: &[u8]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("built"), binary).unwrap();
        let recipes = ["small.toml", "long.toml"].map(|name| folder.path().join(name));
        for (recipe, text) in recipes.iter().zip(["seed = 1\n", "seed = 2\n"]) {
            fs::write(recipe, text).unwrap();
        }
        let out = folder.path().join("out");
        let files = pack(&out, &folder.path().join("built"), &recipes).unwrap();
        (folder, files)
    }

    #[test]
    fn the_folder_holds_binary_recipes_and_script() {
        let (folder, files) = packed(b"machine code");
        let mut found: Vec<_> = fs::read_dir(folder.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        let mut files = files;
        files.sort();
        assert_eq!(found, files);
        let read = |name| fs::read_to_string(folder.path().join("out").join(name)).unwrap();
        assert_eq!(read("lasnn"), "machine code");
        assert_eq!(read("recipe.toml"), "seed = 1\n");
        assert_eq!(read("speed.toml"), "seed = 2\n");
        assert!(read("check.sh").starts_with("#!/bin/sh"));
    }

    #[test]
    fn the_sizes_of_all_files_are_added() {
        let (_folder, files) = packed(&[0; 1000]);
        assert_eq!(check_size(&files, LIMIT).unwrap(), 1018 + SCRIPT.len() as u64);
    }

    #[test]
    fn a_folder_at_the_limit_passes_and_one_byte_more_fails() {
        let (_folder, files) = packed(&[0; 5000]);
        let size = 5018 + SCRIPT.len() as u64;
        assert!(check_size(&files, size).is_ok());
        let error = check_size(&files, size - 1).unwrap_err();
        let expected = TooLarge { found: size, limit: size - 1, largest: files[0].clone() };
        assert_eq!(error.downcast_ref::<TooLarge>(), Some(&expected));
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }

    #[test]
    fn the_binary_is_found_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"burn"},"executable":null}"#,
            "\nwarning: not JSON\n",
            r#"{"reason":"compiler-artifact","target":{"name":"lasnn"},"executable":"/t/lasnn"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(
            executables(messages, |target| target == "lasnn").pop(),
            Some("/t/lasnn".into())
        );
        assert_eq!(executables("", |target| target == "lasnn").pop(), None);
    }

    /// Persons and job systems read the verdict of the script, so the script itself is run, with
    /// small scripts in place of the binary.
    #[cfg(unix)]
    #[test]
    fn the_script_fails_where_the_binary_fails() {
        use std::os::unix::fs::PermissionsExt;
        let check = |binary: &str| {
            let (folder, files) = packed(binary.as_bytes());
            fs::set_permissions(&files[0], fs::Permissions::from_mode(0o755)).unwrap();
            let script = folder.path().join("out/check.sh");
            let output = std::process::Command::new("sh").arg(script).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let verdict = text.lines().last().unwrap_or_default().to_owned();
            (output.status.success(), verdict)
        };
        let runs = |loss: &str| {
            format!(
                "#!/bin/sh\n[ \"$1\" = run ] || exit 0\nfolder=$6/recipe/id\nmkdir -p \"$folder\"\n\
                 printf '{{\"loss\":{loss},\"seconds\":%s}}\\n' $$ >\"$folder/metrics.jsonl\"\n"
            )
        };
        let (passed, verdict) = check(&runs("0.5"));
        assert!(passed && verdict.starts_with("PASS"), "{verdict}");
        let (passed, verdict) = check(&runs("'$$'"));
        assert!(!passed && verdict.starts_with("FAIL: the same recipe"), "{verdict}");
        let (passed, verdict) = check("#!/bin/sh\nexit 0\n");
        assert!(!passed && verdict.starts_with("FAIL: training wrote no"), "{verdict}");
        let (passed, verdict) = check("#!/bin/sh\n[ \"$1\" != check-backend ]\n");
        assert!(!passed && verdict.starts_with("FAIL: kernel parity"), "{verdict}");
        let (passed, verdict) = check("#!/bin/sh\n[ \"$1\" != run ]\n");
        assert!(!passed && verdict.starts_with("FAIL: training"), "{verdict}");
    }
}
