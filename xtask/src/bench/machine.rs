//! What was measured on, and of what.

use std::fs;
use std::process::Command;

use crate::workspace::{Workspace, run_for_output};

/// What a reader must know to compare with another table.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor as it calls itself, and the widest vectors it has: one name stands for several
    /// generations, whose times say nothing about each other.
    pub processor: String,
    /// How many cores the operating system shows.
    pub cores: usize,
    /// Memory.
    pub memory_gib: u64,
    /// Year, month and day.
    pub date: String,
    /// The commit of ours, with a mark where files differ from it.
    pub commit: String,
}

impl Machine {
    /// This machine, now.
    ///
    /// # Errors
    ///
    /// If the clock cannot be asked.
    pub fn here(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut date = Command::new("date");
        date.args(["--utc", "+%Y-%m-%d"]);
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| {
            let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some((kib as f64 / f64::from(1 << 20)).round() as u64)
        });
        Ok(Self {
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: cores(),
            memory_gib: memory.unwrap_or_default(),
            date: run_for_output(date)?.trim().to_owned(),
            commit: commit(workspace),
        })
    }

    /// What must be the same for times to be compared.
    pub fn kind(&self) -> String {
        format!("{}, {} cores", self.processor, self.cores)
    }
}

/// Name and widest vectors, or tiles, from what `/proc/cpuinfo` says.
fn processor(about: &str) -> String {
    let name = line(about, "model name").unwrap_or("unknown processor");
    let flags = line(about, "flags").or_else(|| line(about, "Features")).unwrap_or_default();
    let vectors = [
        ("amx_bf16", "AMX and AVX-512 with bfloat16"),
        ("avx512_bf16", "AVX-512 with bfloat16"),
        ("avx512f", "AVX-512"),
        ("avx2", "AVX2"),
        ("asimd", "NEON"),
    ];
    let found = vectors.iter().find(|(flag, _)| flags.split_whitespace().any(|f| f == *flag));
    found.map_or_else(|| name.to_owned(), |(_, vectors)| format!("{name}, {vectors}"))
}

/// The commit, and whether anything differs from it but results, which a comparison writes itself.
fn commit(workspace: &Workspace) -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&workspace.root).args(arguments);
        run_for_output(command).map(|text| text.trim().to_owned())
    };
    // Not every copy of the sources is a repository.
    let Ok(commit) = git(&["rev-parse", "--short=7", "HEAD"]) else { return "unknown".into() };
    match git(&["status", "--porcelain", "--", ".", ":(exclude)results"]) {
        Ok(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}

/// How many threads run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of a line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    line(&fs::read_to_string(file).ok()?, name).map(str::to_owned)
}

fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_of_one_name_are_told_apart() {
        let about =
            |flags: &str| processor(&format!("model name\t: Abacus 9\nflags\t\t: {flags}\n"));
        assert_eq!(about("fpu avx avx2"), "Abacus 9, AVX2");
        assert_eq!(about("avx2 avx512f avx512_bf16"), "Abacus 9, AVX-512 with bfloat16");
        assert_eq!(
            about("avx512f avx512_bf16 amx_bf16 amx_tile"),
            "Abacus 9, AMX and AVX-512 with bfloat16"
        );
        assert_eq!(about("avx2 avx512f"), "Abacus 9, AVX-512");
        assert_eq!(about("fpu"), "Abacus 9");
        assert_eq!(processor("Features\t: fp asimd\n"), "unknown processor, NEON");
    }
}
