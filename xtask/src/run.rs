//! `cargo xtask run`: from a recipe's name to a finished run.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::workspace::{Workspace, become_command};

#[derive(clap::Args)]
pub struct RunArguments {
    /// A recipe by its name under configs/ (`quickstart`, `cifar10/vgg5-cpu`) or by its path
    recipe: String,
    /// Cargo features of `lasnn` to build with, for instance `cuda`
    #[arg(long)]
    features: Option<String>,
    /// What to pass on to `lasnn run`, for instance `-- --resume --seed 2`
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, arguments: &RunArguments) -> anyhow::Result<()> {
    let recipe = find_recipe(&workspace.root.join("configs"), &arguments.recipe)?;
    let mut command = workspace.cargo("run");
    command.args(["--release", "--locked", "--package", "lasnn-cli"]);
    if let Some(features) = &arguments.features {
        command.args(["--features", features]);
    }
    command.args(["--", "run"]).arg(recipe).args(&arguments.arguments);
    become_command(command)
}

/// The file of a recipe given by its name under `configs`, or by its path.
///
/// # Errors
///
/// Lists the names that exist where none fits.
pub fn find_recipe(configs: &Path, recipe: &str) -> anyhow::Result<PathBuf> {
    // A name wins over a path, so that `quickstart` means the same in every folder.
    let named = configs.join(format!("{recipe}.toml"));
    if named.is_file() {
        return Ok(named);
    }
    if Path::new(recipe).is_file() {
        return Ok(recipe.into());
    }
    let mut names = Vec::new();
    collect_names(configs, configs, &mut names)?;
    names.sort();
    bail!(
        "no recipe `{recipe}`: expected the path of a recipe or one of these names: {}",
        names.join(", ")
    )
}

fn collect_names(configs: &Path, folder: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            collect_names(configs, &path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.with_extension("");
            let name = name.strip_prefix(configs).unwrap_or(&name);
            // Names have forward slashes on every system.
            let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            names.push(parts.join("/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn configs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cifar10")).unwrap();
        for name in ["quickstart.toml", "cifar10/vgg5-cpu.toml", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_name_is_a_file_under_configs() {
        let configs = configs();
        let find = |name| find_recipe(configs.path(), name).unwrap();
        assert_eq!(find("quickstart"), configs.path().join("quickstart.toml"));
        assert_eq!(find("cifar10/vgg5-cpu"), configs.path().join("cifar10/vgg5-cpu.toml"));
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let configs = configs();
        let path = configs.path().join("notes.md");
        let found = find_recipe(configs.path(), &path.to_string_lossy()).unwrap();
        assert_eq!(found, path);
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let configs = configs();
        let error = find_recipe(configs.path(), "cifar10/vgg6").unwrap_err().to_string();
        assert!(error.contains("`cifar10/vgg6`"), "{error}");
        assert!(error.ends_with("cifar10/vgg5-cpu, quickstart"), "{error}");
    }

    #[test]
    fn a_folder_is_no_recipe() {
        assert!(find_recipe(configs().path(), "cifar10").is_err());
    }

    #[test]
    fn every_recipe_of_the_repository_is_found_by_its_name() {
        let configs = Workspace::locate().root.join("configs");
        let mut names = Vec::new();
        collect_names(&configs, &configs, &mut names).unwrap();
        assert!(names.contains(&"quickstart".to_owned()), "{names:?}");
        for name in names {
            assert!(find_recipe(&configs, &name).is_ok(), "{name}");
        }
    }
}
