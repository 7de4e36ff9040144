//! The machine and the commit of a measurement.

use std::fs;
use std::process::Command;

use crate::workspace::{Workspace, run_for_output};

/// What a reader must know to compare one measurement with another.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's own name and its widest vector instructions. One name can stand for several
    /// generations, whose times cannot be compared.
    pub processor: String,
    /// How many cores the operating system shows.
    pub cores: usize,
    pub memory_gib: u64,
    /// Year, month and day, UTC.
    pub date: String,
    /// The commit of the sources, with a note if the sources differ from it.
    pub commit: String,
    /// Whether the sources are exactly those of the commit.
    pub is_clean: bool,
}

impl Machine {
    /// This machine at this moment.
    ///
    /// # Errors
    ///
    /// If the date cannot be read.
    pub fn here(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut date = Command::new("date");
        date.args(["--utc", "+%Y-%m-%d"]);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = value(&meminfo, "MemTotal").and_then(|text| {
            let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some((kib as f64 / f64::from(1 << 20)).round() as u64)
        });
        let (commit, is_clean) = commit(workspace);
        Ok(Self {
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: cores(),
            memory_gib: memory.unwrap_or_default(),
            date: run_for_output(date)?.trim().to_owned(),
            commit,
            is_clean,
        })
    }

    /// The kind of machine. Times can be compared only between machines of one kind.
    pub fn kind(&self) -> String {
        format!("{}, {} cores", self.processor, self.cores)
    }
}

/// The processor's name and its widest vector or tile instructions, from the text of
/// `/proc/cpuinfo`.
fn processor(cpuinfo: &str) -> String {
    let name = value(cpuinfo, "model name").unwrap_or("unknown processor");
    let flags = value(cpuinfo, "flags").or_else(|| value(cpuinfo, "Features")).unwrap_or_default();
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

/// The commit, and whether the sources are the same. Files under `results/` do not count, since a
/// measurement writes there itself.
fn commit(workspace: &Workspace) -> (String, bool) {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&workspace.root).args(arguments);
        run_for_output(command).map(|text| text.trim().to_owned())
    };
    // Not every copy of the sources is a repository.
    let Ok(commit) = git(&["rev-parse", "--short=7", "HEAD"]) else {
        return ("unknown".into(), false);
    };
    match git(&["status", "--porcelain", "--", ".", ":(exclude)results"]) {
        Ok(changes) if changes.is_empty() => (commit, true),
        _ => (format!("{commit}, with changes"), false),
    }
}

/// How many threads can run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of the first line `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A machine with clean sources.
    pub fn machine() -> Machine {
        Machine {
            processor: "Abacus 9".into(),
            cores: 2,
            memory_gib: 16,
            date: "2031-02-03".into(),
            commit: "0123456".into(),
            is_clean: true,
        }
    }

    #[test]
    fn generations_with_one_name_are_different_processors() {
        let with_flags =
            |flags: &str| processor(&format!("model name\t: Abacus 9\nflags\t\t: {flags}\n"));
        assert_eq!(with_flags("fpu avx avx2"), "Abacus 9, AVX2");
        assert_eq!(with_flags("avx2 avx512f avx512_bf16"), "Abacus 9, AVX-512 with bfloat16");
        assert_eq!(
            with_flags("avx512f avx512_bf16 amx_bf16 amx_tile"),
            "Abacus 9, AMX and AVX-512 with bfloat16"
        );
        assert_eq!(with_flags("avx2 avx512f"), "Abacus 9, AVX-512");
        assert_eq!(with_flags("fpu"), "Abacus 9");
        assert_eq!(processor("Features\t: fp asimd\n"), "unknown processor, NEON");
    }
}
