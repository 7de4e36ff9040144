//! Finds recipes by their name or their path.

use std::path::{Component, Path, PathBuf};

use super::error::RecipeError;

/// The folder of the recipes that have a name, in the current folder.
const CONFIGS: &str = "configs";

/// How many folders deep recipes are searched.
const DEPTH: usize = 8;

/// The file of a recipe that is named by its path or by its name.
///
/// The name of a recipe is its path in `configs` without `.toml`, for instance `cifar10/vgg5-cpu`.
/// If there is a file and a name, the file is used: a user may have completed its path in a shell.
///
/// # Errors
///
/// If there is no such recipe, the error lists all names.
pub fn find(typed: &Path) -> Result<PathBuf, RecipeError> {
    find_below(Path::new(CONFIGS), typed)
}

/// The sorted names of all recipes in `configs`. The list is empty if there is no such folder.
pub fn names() -> Vec<String> {
    names_below(Path::new(CONFIGS))
}

fn find_below(configs: &Path, typed: &Path) -> Result<PathBuf, RecipeError> {
    let reason = match typed.metadata() {
        Ok(found) if !found.is_dir() => return Ok(typed.into()),
        Ok(_) => "it is a folder".to_owned(),
        Err(error) => error.to_string(),
    };
    let plain = typed.components().all(|part| matches!(part, Component::Normal(_)));
    let named = configs.join(typed).with_added_extension("toml");
    match plain && named.is_file() {
        true => Ok(named),
        false => {
            Err(RecipeError::Unknown { typed: typed.into(), reason, names: names_below(configs) })
        }
    }
}

fn names_below(configs: &Path) -> Vec<String> {
    let mut names = Vec::new();
    collect(configs, "", DEPTH, &mut names);
    names.sort();
    names
}

/// Adds the names of the recipes in `folder`, each with `prefix`. Unreadable folders are skipped.
fn collect(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let file = entry.file_name();
        // A name must be valid UTF-8, because a user types it.
        let Some(file) = file.to_str().filter(|file| !file.starts_with('.')) else { continue };
        if entry.path().is_dir() {
            if depth > 0 {
                collect(&entry.path(), &format!("{prefix}{file}/"), depth - 1, names);
            }
        } else if let Some(name) = file.strip_suffix(".toml") {
            names.push(format!("{prefix}{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn configs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cifar10")).unwrap();
        for name in ["quickstart.toml", "cifar10/vgg5-cpu.toml", "cifar10.v2.toml", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_name_is_a_file_in_configs() {
        let configs = configs();
        let find = |name: &str| find_below(configs.path(), name.as_ref()).unwrap();
        for name in ["quickstart", "cifar10/vgg5-cpu", "cifar10.v2"] {
            assert_eq!(find(name), configs.path().join(format!("{name}.toml")));
        }
    }

    #[test]
    fn a_file_is_preferred_to_a_name() {
        let configs = configs();
        let file = configs.path().join("notes.md");
        assert_eq!(find_below(configs.path(), &file).unwrap(), file);
    }

    #[test]
    fn an_unknown_name_lists_all_names() {
        let configs = configs();
        for name in ["cifar10/vgg6", "absent.toml", "../quickstart"] {
            let error = find_below(configs.path(), name.as_ref()).unwrap_err().to_string();
            assert!(error.contains(&format!("no recipe `{name}`: No such file")), "{error}");
            assert!(error.ends_with("cifar10.v2, cifar10/vgg5-cpu, quickstart"), "{error}");
        }
        let nowhere = configs.path().join("absent");
        let error = find_below(&nowhere, "quickstart".as_ref()).unwrap_err().to_string();
        assert!(error.ends_with("in the current folder, which has none"), "{error}");
    }

    #[test]
    fn a_folder_is_no_recipe() {
        let configs = configs();
        let error = find_below(configs.path(), configs.path()).unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
    }
}
