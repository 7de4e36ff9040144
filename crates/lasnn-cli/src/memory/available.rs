//! How much memory there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::size::Size;
use crate::backend::BackendName;

/// How much memory there is for what a command computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Available {
    /// In bytes; nothing where it is not known.
    pub bytes: Option<Size>,
    /// What sets the limit, or why none is known.
    pub source: &'static str,
}

/// The memory that a backend computes in.
pub fn available(backend: BackendName) -> Available {
    match backend {
        BackendName::Flex | BackendName::Ndarray => host(Path::new("/")),
        BackendName::Cuda => match nvidia() {
            Some(bytes) => Available { bytes: Some(bytes), source: "the GPU's memory" },
            None => unknown("the program nvidia-smi does not tell it"),
        },
        BackendName::Vulkan => unknown("nothing here asks Vulkan for it"),
    }
}

fn unknown(source: &'static str) -> Available {
    Available { bytes: None, source }
}

/// The smaller of the machine's memory and of the limits of this process' control groups, below a
/// root of the file system.
pub fn host(root: &Path) -> Available {
    let machine = machine(root).map(|bytes| (bytes, "the machine's memory"));
    let group = control_group(root).map(|bytes| (bytes, "the limit of the control group"));
    match machine.into_iter().chain(group).min_by_key(|&(bytes, _)| bytes) {
        Some((bytes, source)) => Available { bytes: Some(bytes), source },
        None => unknown("/proc/meminfo does not tell it"),
    }
}

fn machine(root: &Path) -> Option<Size> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let number: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size::from(number) * 1024usize)
}

/// The least limit of a group of this process or of a group above it, in either version of control
/// groups. A container may show its own group as the root, and not the path that the process has
/// outside: what is not there sets no limit.
fn control_group(root: &Path) -> Option<Size> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mounts, file): (&[&str], _) = match controllers {
            "" => (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max"),
            all if all.split(',').any(|name| name == "memory") => {
                (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for mount in mounts {
            limits.extend(limits_from(&root.join(mount), path, file));
        }
    }
    limits.into_iter().min()
}

/// The limits of a group and of all groups above it.
fn limits_from(mount: &Path, path: &str, file: &str) -> Vec<Size> {
    let mut group: PathBuf = mount.join(path.trim_start_matches('/'));
    let mut limits = Vec::new();
    while group.starts_with(mount) {
        // `max` is no limit; nor is the largest number of pages, but nothing is smaller than it.
        let text = fs::read_to_string(group.join(file)).unwrap_or_default();
        limits.extend(text.trim().parse::<u64>().ok().map(|bytes| Size::new(bytes.into())));
        if !group.pop() {
            break;
        }
    }
    limits
}

/// The memory of the first GPU of NVIDIA's.
fn nvidia() -> Option<Size> {
    let arguments = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(arguments).output().ok()?;
    output.status.success().then_some(())?;
    mebibytes(&String::from_utf8(output.stdout).ok()?)
}

fn mebibytes(text: &str) -> Option<Size> {
    let number: usize = text.lines().next()?.trim().parse().ok()?;
    Some(Size::from(number) * (1usize << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u128 = 1 << 20;

    /// A tree of files; each line names one and what is in it.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[track_caller]
    fn finds(files: &[(&str, &str)], mebibytes: u128, source: &str) {
        let found = host(tree(files).path());
        assert_eq!(found.bytes, Some(Size::new(mebibytes * MEBIBYTE)));
        assert!(found.source.contains(source), "{found:?}");
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:        4194304 kB\nMemFree:          100000 kB\n");

    #[test]
    fn without_a_group_the_machine_sets_the_limit() {
        finds(&[MEMINFO], 4096, "machine");
        finds(&[MEMINFO, ("proc/self/cgroup", "0::/\n")], 4096, "machine");
    }

    #[test]
    fn the_least_limit_above_a_group_of_version_2_counts() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let outer = ("sys/fs/cgroup/a/memory.max", "1073741824\n");
        let inner = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        finds(&[MEMINFO, group, outer, inner], 1024, "control group");
        let inner = ("sys/fs/cgroup/a/b/memory.max", "536870912\n");
        finds(&[MEMINFO, group, outer, inner], 512, "control group");
        // A container sees its own group as the root.
        let root = ("sys/fs/cgroup/memory.max", "268435456\n");
        finds(&[MEMINFO, ("proc/self/cgroup", "0::/../elsewhere\n"), root], 256, "control group");
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let group = ("proc/self/cgroup", "5:cpu:/a\n4:memory:/a/b\n0::/\n");
        let outer = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let inner = ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "1048576\n");
        finds(&[MEMINFO, group, outer, inner], 1, "control group");
        finds(&[MEMINFO, group, outer], 4096, "machine");
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let nothing = host(tree(&[]).path());
        assert_eq!(nothing.bytes, None);
        assert_eq!(available(BackendName::Vulkan).bytes, None);
        assert_eq!(mebibytes("143771\n143771\n"), Some(Size::new(143_771 * MEBIBYTE)));
        assert_eq!(mebibytes("No devices were found"), None);
    }
}
