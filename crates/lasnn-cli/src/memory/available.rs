//! The available memory: of the machine, of a control group, or of a GPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::size::Size;
use crate::backend::BackendName;

/// The memory that is available to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Available {
    /// The number of bytes. `None` if it is unknown.
    pub bytes: Option<Size>,
    /// What sets the limit, or the reason why it is unknown.
    pub source: &'static str,
}

/// The memory in which a backend computes.
pub fn available(backend: BackendName) -> Available {
    match backend {
        BackendName::Flex | BackendName::Ndarray => host(Path::new("/")),
        BackendName::Cuda => match nvidia() {
            Some(bytes) => Available { bytes: Some(bytes), source: "the GPU's memory" },
            None => unknown("the program nvidia-smi does not report it"),
        },
        BackendName::Vulkan => unknown("lasnn does not query it with Vulkan"),
    }
}

fn unknown(source: &'static str) -> Available {
    Available { bytes: None, source }
}

/// The smaller one of the machine's memory and the limit of this process's control groups. `root`
/// is the root of the file system.
pub fn host(root: &Path) -> Available {
    let machine = machine(root).map(|bytes| (bytes, "the machine's memory"));
    let group = control_group(root).map(|bytes| (bytes, "the limit of the control group"));
    match machine.into_iter().chain(group).min_by_key(|&(bytes, _)| bytes) {
        Some((bytes, source)) => Available { bytes: Some(bytes), source },
        None => unknown("/proc/meminfo does not contain it"),
    }
}

fn machine(root: &Path) -> Option<Size> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let number: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size::from(number) * 1024usize)
}

/// The least limit of this process's control group and of its parents, in version 1 or 2 of control
/// groups.
///
/// In a container the root of the mounted file system may be the container's own group, so the path
/// of the process does not exist there. A file that does not exist sets no limit.
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

/// The limits of a control group and of all its parents.
fn limits_from(mount: &Path, path: &str, file: &str) -> Vec<Size> {
    let mut group: PathBuf = mount.join(path.trim_start_matches('/'));
    let mut limits = Vec::new();
    while group.starts_with(mount) {
        // The word `max` means that there is no limit. In version 1 a very large number means it.
        let text = fs::read_to_string(group.join(file)).unwrap_or_default();
        limits.extend(text.trim().parse::<u64>().ok().map(|bytes| Size::new(bytes.into())));
        if !group.pop() {
            break;
        }
    }
    limits
}

/// The memory of the first NVIDIA GPU.
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

    /// A folder with these files, from their paths and contents.
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
    fn without_a_control_group_the_machine_sets_the_limit() {
        finds(&[MEMINFO], 4096, "machine");
        finds(&[MEMINFO, ("proc/self/cgroup", "0::/\n")], 4096, "machine");
    }

    #[test]
    fn the_least_limit_of_a_version_2_group_and_its_parents_counts() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let outer = ("sys/fs/cgroup/a/memory.max", "1073741824\n");
        let inner = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        finds(&[MEMINFO, group, outer, inner], 1024, "control group");
        let inner = ("sys/fs/cgroup/a/b/memory.max", "536870912\n");
        finds(&[MEMINFO, group, outer, inner], 512, "control group");
        // In a container the root is its own group.
        let root = ("sys/fs/cgroup/memory.max", "268435456\n");
        finds(&[MEMINFO, ("proc/self/cgroup", "0::/../elsewhere\n"), root], 256, "control group");
    }

    #[test]
    fn version_1_groups_set_limits_too() {
        let group = ("proc/self/cgroup", "5:cpu:/a\n4:memory:/a/b\n0::/\n");
        let outer = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let inner = ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "1048576\n");
        finds(&[MEMINFO, group, outer, inner], 1, "control group");
        finds(&[MEMINFO, group, outer], 4096, "machine");
    }

    #[test]
    fn unreadable_limits_are_unknown() {
        let nothing = host(tree(&[]).path());
        assert_eq!(nothing.bytes, None);
        assert_eq!(available(BackendName::Vulkan).bytes, None);
        assert_eq!(mebibytes("143771\n143771\n"), Some(Size::new(143_771 * MEBIBYTE)));
        assert_eq!(mebibytes("No devices were found"), None);
    }
}
