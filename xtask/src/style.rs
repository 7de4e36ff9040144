//! The rules for sources and documents that no other tool checks.
//!
//! - Lines have at most 100 characters.
//! - Words of a former private vocabulary are not used in Rust sources.
//! - Every library crate has a README.md and an example.
//! - Relative links in Markdown lead to a file.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::markdown::links;
use crate::workspace::Workspace;

/// The most characters of a line.
const WIDTH: usize = 100;

/// File names whose lines are measured.
const MEASURED: [&str; 5] = ["rs", "toml", "md", "sh", "py"];

/// Words that are not used, also not as parts of longer names.
const WORDS: [&str; 12] = [
    "Behind",
    "behind",
    "asked",
    "some_sums",
    "Turned",
    "Obtained",
    "SiteGrad",
    "SiteBack",
    "halves",
    "is_rough",
    "fully_connect",
    "rectify",
];

/// This file, which has to name the words.
const THIS_FILE: &str = "xtask/src/style.rs";

/// The crate under `crates/` that is not a library.
const BINARY_CRATE: &str = "lasnn-cli";

/// A rule that is broken at one place.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Relative to the root of the repository.
    path: PathBuf,
    /// Counted from 1; none if the rule is about the whole file.
    line: Option<usize>,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Checks all files that git tracks.
///
/// # Errors
///
/// If a rule is broken, after all violations are printed.
pub fn style(workspace: &Workspace) -> anyhow::Result<()> {
    let root = &workspace.root;
    let mut violations = Vec::new();
    for path in tracked_files(root)? {
        let absolute = root.join(&path);
        let is_checked = MEASURED.iter().any(|extension| has_extension(&path, extension));
        // A file that was deleted but not committed is still tracked.
        if !is_checked || !absolute.is_file() {
            continue;
        }
        let text = fs::read_to_string(&absolute)
            .with_context(|| format!("cannot read {}", path.display()))?;
        violations.extend(long_lines(&path, &text));
        violations.extend(unwanted_words(&path, &text));
        violations.extend(broken_links(root, &path, &text));
    }
    violations.extend(incomplete_crates(root)?);
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("{count} violations of the style"),
    }
}

/// The files of the repository: those that git tracks. In a copy without git, all files but those
/// in the folders that git ignores.
fn tracked_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let git = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    match git {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout)?;
            Ok(names.split_terminator('\0').map(PathBuf::from).collect())
        }
        _ => {
            let mut files = Vec::new();
            walk(root, root, &mut files)?;
            Ok(files)
        }
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.strip_prefix(root).unwrap_or(&path);
        if path.is_dir() {
            if !["target", "runs", ".git"].iter().any(|ignored| name.ends_with(ignored)) {
                walk(root, &path, files)?;
            }
        } else {
            files.push(name.to_owned());
        }
    }
    Ok(())
}

/// The lines with too many characters, except table rows and lines with a web address. Results are
/// not checked, since they are never rewritten.
fn long_lines(path: &Path, text: &str) -> Vec<Violation> {
    if path.starts_with("results") {
        return Vec::new();
    }
    let is_markdown = has_extension(path, "md");
    let may_be_long = |line: &str| {
        let is_table_row = is_markdown && line.trim_start().starts_with('|');
        is_table_row || line.contains("http://") || line.contains("https://")
    };
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let length = line.chars().count();
        if length > WIDTH && !may_be_long(line) {
            let message = format!("{length} characters, at most {WIDTH} are allowed");
            violations.push(Violation { path: path.into(), line: Some(index + 1), message });
        }
    }
    violations
}

/// The names in a Rust file, comments included, that are an unwanted word or contain one.
fn unwanted_words(path: &Path, text: &str) -> Vec<Violation> {
    if !has_extension(path, "rs") || path == Path::new(THIS_FILE) {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if let Some(word) = WORDS.iter().find(|word| contains_word(name, word)) {
                let message = match name == *word {
                    true => format!("`{word}` is not used here any more"),
                    false => format!("`{name}` contains `{word}`, which is not used here any more"),
                };
                violations.push(Violation { path: path.into(), line: Some(index + 1), message });
            }
        }
    }
    violations
}

/// Whether consecutive parts of a name, in snake case or camel case, are the parts of a word.
/// A lower-case word is found in any case, as in `AskedLanes`; another word only as it is.
fn contains_word(name: &str, word: &str) -> bool {
    let is_lower_case = word.chars().all(|c| !c.is_uppercase());
    let matches = |part: &str, wanted: &str| {
        let part = part.trim_end_matches(|c: char| c.is_ascii_digit());
        if is_lower_case { part.eq_ignore_ascii_case(wanted) } else { part == wanted }
    };
    let (parts, wanted) = (parts(name), parts(word));
    let mut windows = parts.windows(wanted.len());
    windows.any(|window| window.iter().zip(&wanted).all(|(part, wanted)| matches(part, wanted)))
}

/// The parts of a name: `some_sums` and `SomeSums` have two.
fn parts(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for word in name.split('_') {
        let mut start = 0;
        let mut was_lower_case = false;
        for (at, c) in word.char_indices() {
            if c.is_uppercase() && was_lower_case {
                parts.push(&word[start..at]);
                start = at;
            }
            was_lower_case = !c.is_uppercase();
        }
        parts.push(&word[start..]);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The relative links of a Markdown file that lead to no file or folder below `root`.
fn broken_links(root: &Path, path: &Path, text: &str) -> Vec<Violation> {
    if !has_extension(path, "md") {
        return Vec::new();
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut violations = Vec::new();
    for link in links(text) {
        let target = link.target.split('#').next().unwrap_or_default();
        if target.is_empty() || is_address(target) {
            continue;
        }
        let exists =
            inside_root(&folder.join(target)).is_some_and(|target| root.join(target).exists());
        if !exists {
            let message = format!("the link to `{}` leads to no file", link.target);
            violations.push(Violation { path: path.into(), line: Some(link.line), message });
        }
    }
    violations
}

/// Whether a link begins with a scheme, as in `https:` or `mailto:`.
fn is_address(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// A relative path without `..`, or nothing if it leads out of the repository.
fn inside_root(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !inside.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

/// The library crates without README.md or without an example.
fn incomplete_crates(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut crates = Vec::new();
    let failed = "cannot list the folder crates";
    for entry in fs::read_dir(root.join("crates")).context(failed)? {
        let path = entry.context(failed)?.path();
        let is_library = !path.ends_with(BINARY_CRATE);
        if is_library && path.join("Cargo.toml").is_file() {
            crates.push(path);
        }
    }
    crates.sort();
    let mut violations = Vec::new();
    for path in crates {
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let mut require = |has: bool, message: &str| {
            if !has {
                let (path, message) = (relative.into(), message.to_owned());
                violations.push(Violation { path, line: None, message });
            }
        };
        require(path.join("README.md").is_file(), "this library crate has no README.md");
        require(has_example(&path), "this library crate has no example");
    }
    Ok(violations)
}

/// Whether a crate has `examples/<name>.rs` or `examples/<name>/main.rs`.
fn has_example(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path.join("examples")) else { return false };
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.any(|path| has_extension(&path, "rs") || path.join("main.rs").is_file())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines at which a rule is broken.
    fn lines(violations: &[Violation]) -> Vec<usize> {
        violations.iter().filter_map(|violation| violation.line).collect()
    }

    #[test]
    fn lines_are_measured_in_characters() {
        let text = format!("{}\n{}\n{}\n", "µ".repeat(100), "a".repeat(101), "b".repeat(100));
        let found = long_lines(Path::new("src/a.rs"), &text);
        assert_eq!(lines(&found), [2]);
        assert_eq!(found[0].to_string(), "src/a.rs:2: 101 characters, at most 100 are allowed");
    }

    #[test]
    fn tables_addresses_and_results_may_have_long_lines() {
        let long = "a ".repeat(60);
        let lines_of = |path: &str, text: &str| lines(&long_lines(Path::new(path), text));
        let empty: [usize; 0] = [];
        assert_eq!(lines_of("docs/a.md", &format!("| {long} |\n  | {long} |\n")), empty);
        assert_eq!(lines_of("src/a.rs", &format!("| {long} |\n")), [1]);
        assert_eq!(lines_of("src/a.py", &format!("# https://example.org {long}\n")), empty);
        assert_eq!(lines_of("results/2031-02-03-a/README.md", &format!("{long}\n")), empty);
        assert_eq!(lines_of("CHANGELOG.md", &format!("{long}\n")), [1]);
    }

    #[test]
    fn words_are_found_as_parts_of_names_and_in_comments() {
        let found = |text: &str| !unwanted_words(Path::new("src/a.rs"), text).is_empty();
        for text in [
            "fn behind() {}",
            "let lanes_asked = 1;",
            "struct AskedLanes;",
            "const HALVES: u8 = 2;",
            "struct TurnedConv;",
            "enum MySiteGrad2 {}",
            "fn some_sums_of(x: u8) {}",
            "struct SomeSums;",
            "fn fully_connect_rows() {}",
            "// The layer behind this one.",
            "x.rectify()",
        ] {
            assert!(found(text), "{text}");
        }
        for text in [
            "fn turned() {}",
            "fn rectified() {}",
            "let ask = 1;",
            "let site_grad = 1;",
            "let some = sums;",
            "let is_smooth_or_rough = 1;",
            "fn connect_fully() {}",
        ] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn words_are_reported_with_their_line_in_rust_files_only() {
        let text = "fn a() {}\nfn is_behind() {}\n";
        let found = unwanted_words(Path::new("src/a.rs"), text);
        let expected = "src/a.rs:2: `is_behind` contains `behind`, which is not used here any more";
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        assert_eq!(unwanted_words(Path::new("docs/a.md"), text), []);
        assert_eq!(unwanted_words(Path::new(THIS_FILE), text), []);
        assert!(Workspace::locate().root.join(THIS_FILE).is_file());
    }

    #[test]
    fn names_are_split_in_both_styles() {
        assert_eq!(parts("some_sums"), ["some", "sums"]);
        assert_eq!(parts("SiteGrad"), ["Site", "Grad"]);
        assert_eq!(parts("__A1b_cDe"), ["A1b", "c", "De"]);
        assert_eq!(parts("HALVES"), ["HALVES"]);
    }

    #[test]
    fn relative_links_must_lead_to_a_file() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/b.md"), "").unwrap();
        let broken = |text: &str| lines(&broken_links(root.path(), Path::new("docs/a.md"), text));
        let good = "[a](b.md) [b](b.md#part) [c](../docs/) [d](#here)\n\
                    [e](https://example.org/none.md) [f](mailto:a@example.org)\n";
        let empty: [usize; 0] = [];
        assert_eq!(broken(good), empty);
        assert_eq!(broken("[a](c.md)\n[b](b.md)\n[c](../b.md)\n"), [1, 3]);
        // Outside the repository nothing may be there for others.
        assert_eq!(broken("[a](../../)\n[b](/docs/b.md)\n"), [1, 2]);
        assert_eq!(broken_links(root.path(), Path::new("docs/a.rs"), "[a](c.md)"), []);
    }

    #[test]
    fn library_crates_need_a_readme_and_an_example() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join("crates").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for path in ["lasnn-cli/Cargo.toml", "a/Cargo.toml", "b/Cargo.toml", "c/notes.md"] {
            write(path);
        }
        for path in ["a/README.md", "a/examples/one.rs", "b/examples/data.json"] {
            write(path);
        }
        let found: Vec<String> =
            incomplete_crates(root.path()).unwrap().iter().map(ToString::to_string).collect();
        let expected = [
            "crates/b: this library crate has no README.md",
            "crates/b: this library crate has no example",
        ];
        assert_eq!(found, expected);
        write("b/README.md");
        write("b/examples/two/main.rs");
        assert_eq!(incomplete_crates(root.path()).unwrap(), []);
    }
}
