//! `--resume DIR`, which clap cannot parse.

use std::ffi::OsString;
use std::path::Path;

use crate::recipe;

/// Writes `--resume DIR` as `--resume=DIR`.
///
/// The value of `--resume` is optional, so the next word may also be the recipe. The word is the
/// folder of a run if such a folder exists, or if it is a path and does not name a recipe.
pub fn with_resume(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for word in words {
        let path = Path::new(&word);
        let is_recipe = recipe::find(path).is_ok() || path.extension().is_some_and(|e| e == "toml");
        let is_folder = path.is_dir() || (path.components().count() > 1 && !is_recipe);
        match all.last_mut() {
            Some(last) if *last == "--resume" && is_folder && !word.is_empty() => {
                last.push("=");
                last.push(word);
            }
            _ => all.push(word),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_after_resume_is_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().to_str().unwrap();
        let check = |words: &[&str], expected: &[&str]| {
            let words = words.iter().map(|word| (*word).into());
            let found: Vec<String> =
                with_resume(words).into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!(found, expected);
        };
        let joined = format!("--resume={run}");
        check(&["run", "a.toml", "--resume", run], &["run", "a.toml", &joined]);
        check(&["run", "--resume", run, "a.toml"], &["run", &joined, "a.toml"]);
        check(&["run", "a.toml", "--resume", "runs/a/1"], &["run", "a.toml", "--resume=runs/a/1"]);
        for unchanged in [
            &["run", "--resume", "a.toml"][..],
            &["run", "--resume", "configs/a.toml"],
            &["run", "--resume", "quickstart"],
            &["run", "a.toml", "--resume"],
            &["run", "a.toml", "--resume", "--json"],
            &["run", "a.toml", "--resume=runs/a/1"],
        ] {
            check(unchanged, unchanged);
        }
    }
}
