//! Finds all runs, or the run that a user means.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::escape::printable;
use crate::failure::invalid_input;
use crate::run_dir::{self, SUMMARY};

/// How many runs an error lists.
const CANDIDATES: usize = 10;

/// The place of a run in the folder of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLocation {
    /// The name of the recipe, which is also the name of the parent folder. It is empty for a run
    /// outside the folder of runs.
    pub recipe: String,
    /// The id, which is also the name of the folder.
    pub id: String,
    /// The folder.
    pub path: PathBuf,
}

impl RunLocation {
    /// The name of the run in messages: `<recipe>/<id>`.
    pub fn name(&self) -> String {
        match self.recipe.as_str() {
            "" => printable(&self.path.to_string_lossy()),
            recipe => printable(&format!("{recipe}/{}", self.id)),
        }
    }

    /// The time when the run began, in UTC and ISO 8601. `None` if the name of the folder is no id.
    pub fn began(&self) -> Option<String> {
        let (date, time) = (self.id.get(..8)?, self.id.get(9..15)?);
        is_id(&self.id).then(|| {
            let ([y, m, d], [h, min, s]) =
                ([&date[..4], &date[4..6], &date[6..]], [&time[..2], &time[2..4], &time[4..]]);
            format!("{y}-{m}-{d}T{h}:{min}:{s}Z")
        })
    }
}

/// All runs in the folder of runs, from the newest to the oldest. The list is empty if there is no
/// such folder. Other files and folders are ignored.
///
/// # Errors
///
/// Fails if a folder cannot be read.
pub fn all(runs: &Path) -> anyhow::Result<Vec<RunLocation>> {
    let context = || format!("cannot read {}", runs.display());
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let mut found = Vec::new();
    for entry in entries {
        let folder = entry.with_context(context)?.path();
        if !folder.is_dir() {
            continue;
        }
        let recipe = name_of(&folder);
        for path in run_dir::list(&folder)? {
            let id = name_of(&path);
            if is_id(&id) {
                found.push(RunLocation { recipe: recipe.clone(), id, path });
            }
        }
    }
    // Ids begin with the time, so sorting by id sorts by time.
    found.sort_by(|a, b| (&b.id, &b.recipe).cmp(&(&a.id, &a.recipe)));
    Ok(found)
}

/// The run that a user means by its folder, by `<recipe>/<id>`, or by the beginning of an id.
///
/// # Errors
///
/// If no run or several runs fit, the error lists runs that may be meant.
pub fn find(runs: &Path, typed: &str) -> anyhow::Result<RunLocation> {
    let path = Path::new(typed);
    let all = all(runs)?;
    if is_run(path) {
        // If the path leads into the folder of runs, the run has a recipe.
        let real = path.canonicalize().ok();
        let same = |run: &&RunLocation| run.path.canonicalize().ok() == real;
        return Ok(all.iter().find(same).cloned().unwrap_or_else(|| outside(path)));
    }
    let (recipe, id) = match typed.trim_end_matches('/').rsplit_once('/') {
        Some((recipe, id)) => (Some(recipe), id),
        None => (None, typed),
    };
    let of_recipe = |run: &&RunLocation| recipe.is_none_or(|recipe| run.recipe == recipe);
    let fitting: Vec<&RunLocation> = all
        .iter()
        .filter(of_recipe)
        .filter(|run| !id.is_empty() && run.id.starts_with(id))
        .collect();
    let exact: Vec<&RunLocation> = fitting.iter().copied().filter(|run| run.id == id).collect();
    let typed = printable(typed);
    let expected = "expected the folder of a run, RECIPE/ID, or the beginning of an id";
    match (exact.as_slice(), fitting.as_slice()) {
        (&[one], _) | ([], &[one]) => Ok(one.clone()),
        (_, []) if all.is_empty() => Err(invalid_input(format_args!(
            "there is no run `{typed}`: {expected}, and {} has no runs",
            runs.display()
        ))),
        (_, []) => {
            // If the user has named a recipe, the error lists the runs of that recipe only.
            let named: Vec<&RunLocation> = all.iter().filter(of_recipe).collect();
            let there = if named.is_empty() { all.iter().collect() } else { named };
            Err(invalid_input(format_args!(
                "there is no run `{typed}`: {expected}; the runs are {}",
                names(&there)
            )))
        }
        (_, several) => Err(invalid_input(format_args!(
            "`{typed}` is the beginning of {} ids, expected one: {}",
            several.len(),
            names(several)
        ))),
    }
}

/// Whether `name` is the id of a run: `<yyyymmdd>-<hhmmss>-<8 hex digits>`, and perhaps
/// `.<number>`.
pub fn is_id(name: &str) -> bool {
    let (stem, again) = name.split_once('.').unwrap_or((name, "2"));
    let parts: Vec<&str> = stem.split('-').collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match parts[..] {
        [date, time, hash] => {
            (date.len(), time.len(), hash.len()) == (8, 6, 8)
                && digits(date)
                && digits(time)
                && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !again.is_empty()
                && digits(again)
        }
        _ => false,
    }
}

/// Whether a path is the folder of a run. It may be outside the folder of runs.
fn is_run(path: &Path) -> bool {
    let holds = [SUMMARY, "recipe.toml"].iter().any(|file| path.join(file).is_file());
    path.is_dir() && (holds || is_id(&name_of(path)))
}

/// A run outside the folder of runs.
fn outside(path: &Path) -> RunLocation {
    RunLocation { recipe: String::new(), id: name_of(path), path: path.into() }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The names of the runs for a message, at most [`CANDIDATES`] of them.
fn names(runs: &[&RunLocation]) -> String {
    let shown: Vec<String> = runs.iter().take(CANDIDATES).map(|run| run.name()).collect();
    match runs.len().saturating_sub(CANDIDATES) {
        0 => shown.join(", "),
        more => format!("{}, and {more} older ones", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "20260101-000000-aaaaaaaa";
    const AGAIN: &str = "20260101-000000-aaaaaaaa.2";
    const LATER: &str = "20260102-030405-bbbbbbbb";

    fn runs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for run in [
            format!("a/{FIRST}"),
            format!("a/{AGAIN}"),
            format!("b/{LATER}"),
            "b/notes".into(),
            "peers/venv/lib".into(),
            "cache".into(),
        ] {
            fs::create_dir_all(folder.path().join(run)).unwrap();
        }
        fs::write(folder.path().join("cache/teacher-0123456789abcdef.safetensors"), "").unwrap();
        fs::write(folder.path().join("README.md"), "").unwrap();
        folder
    }

    #[test]
    fn all_runs_and_nothing_else_are_found_from_the_newest_to_the_oldest() {
        let runs = runs();
        let names: Vec<_> = all(runs.path()).unwrap().iter().map(RunLocation::name).collect();
        assert_eq!(names, [format!("b/{LATER}"), format!("a/{AGAIN}"), format!("a/{FIRST}")]);
        assert!(all(&runs.path().join("absent")).unwrap().is_empty());
    }

    #[test]
    fn an_id_contains_the_time() {
        let runs = runs();
        let newest = &all(runs.path()).unwrap()[0];
        assert_eq!(newest.began().as_deref(), Some("2026-01-02T03:04:05Z"));
        for other in ["cache", "20260102-030405", "20260102-030405-bbbbbbbg", "é0260102-03040-bbbb"]
        {
            assert!(!is_id(other), "{other}");
            assert_eq!(outside(other.as_ref()).began(), None);
        }
    }

    #[test]
    fn a_run_is_found_by_its_folder_its_name_and_the_beginning_of_its_id() {
        let runs = runs();
        let find = |typed: &str| find(runs.path(), typed).unwrap().name();
        for typed in ["20260102", LATER, "b/2", &format!("b/{LATER}/")] {
            assert_eq!(find(typed), format!("b/{LATER}"), "{typed}");
        }
        // This id is also the beginning of another id.
        assert_eq!(find(FIRST), format!("a/{FIRST}"));
        assert_eq!(find(AGAIN), format!("a/{AGAIN}"));
        let path = runs.path().join("b").join(LATER);
        assert_eq!(find(&path.to_string_lossy()), format!("b/{LATER}"));

        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join(SUMMARY), "{}").unwrap();
        assert_eq!(find(&copy.path().to_string_lossy()), copy.path().to_string_lossy());
    }

    #[test]
    fn an_unknown_or_ambiguous_run_lists_the_candidates() {
        let runs = runs();
        let message = |typed: &str| find(runs.path(), typed).unwrap_err().to_string();
        let several = message("20260101");
        assert!(several.contains("2 ids") && several.contains(AGAIN), "{several}");
        let none = message("a/2027");
        assert!(none.contains("no run `a/2027`") && none.contains(FIRST), "{none}");
        assert!(!none.contains(LATER), "{none}");
        assert!(message("\u{1b}[2J").contains(LATER));
        assert!(message("").contains("no run ``"));
        assert!(!message("\u{1b}[2J").contains('\u{1b}'));
        let nothing = find(&runs.path().join("cache"), "2").unwrap_err().to_string();
        assert!(nothing.ends_with("has no runs"), "{nothing}");
    }
}
