//! Hashes everything that the numbers of a run depend on in the program itself.
//!
//! Trained networks are reused by later runs (`artifact_cache`). A network is the same only if the
//! program that made it computes the same, so the hash is part of its key. It covers the sources of
//! the numeric crates and the lock file, which determines the versions of Burn and `gemm`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The crates of the workspace that compute. The others (`lasnn-cli`, `xtask`) only connect them.
const NUMERIC: [&str; 13] = [
    "lasnn-core",
    "lasnn-nn",
    "lasnn-datasets",
    "lasnn-gemm",
    "lasnn-dense-kernels",
    "lasnn-spiking-kernels",
    "lasnn-backend",
    "lasnn-neurons",
    "lasnn-models",
    "lasnn-snn",
    "lasnn-conversion",
    "lasnn-distillation",
    "lasnn-training",
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut hash = Fnv::new();
    hash.update(env::var("TARGET").unwrap_or_default());
    let crates = package.parent().unwrap_or(&package);
    let folders = NUMERIC.map(|name| crates.join(name).join("src"));
    if folders.iter().all(|folder| folder.is_dir()) {
        for folder in &folders {
            println!("cargo::rerun-if-changed={}", folder.display());
            add_folder(&mut hash, folder)?;
        }
        let lock = crates.join("../Cargo.lock");
        if lock.is_file() {
            println!("cargo::rerun-if-changed={}", lock.display());
            hash.update(fs::read(lock)?);
        }
    } else {
        // A published package is built without its workspace, from dependencies of one version.
        hash.update(env::var("CARGO_PKG_VERSION").unwrap_or_default());
    }
    println!("cargo::rustc-env=LASNN_SOURCES={:032x}", hash.0);
    println!("cargo::rustc-env=LASNN_BURN={}", burn_version(&package)?);
    Ok(())
}

/// The version of Burn, which the manifest of the workspace pins. That of a published package does,
/// too.
fn burn_version(package: &Path) -> io::Result<String> {
    let manifests = [package.join("../../Cargo.toml"), package.join("Cargo.toml")];
    for manifest in manifests.iter().filter(|manifest| manifest.is_file()) {
        // In a published package the version stands in a table `[dependencies.burn]`.
        let text = fs::read_to_string(manifest)?;
        let mut lines = text.lines().skip_while(|line| {
            !line.starts_with("burn = ") && !line.starts_with("[dependencies.burn]")
        });
        let version = lines.find_map(|line| line.split_once("version = \"=")?.1.split_once('"'));
        if let Some((version, _)) = version {
            return Ok(version.to_owned());
        }
    }
    Ok("unknown".to_owned())
}

/// Adds all files of a folder in the order of their names.
fn add_folder(hash: &mut Fnv, folder: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        hash.update(entry.file_name().as_encoded_bytes());
        if path.is_dir() {
            add_folder(hash, &path)?;
        } else {
            let content = fs::read(&path)?;
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(content);
        }
    }
    Ok(())
}

/// The FNV-1a hash of 128 bits, which needs no dependency that would have to be built first.
struct Fnv(u128);

impl Fnv {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn update(&mut self, bytes: impl AsRef<[u8]>) {
        for &byte in bytes.as_ref() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }
}
