//! `cargo xtask run`: from a recipe's name to a finished run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::workspace::{PROFILE, Workspace, become_command, finish};

/// How long the first build takes on two cores, in minutes. Later builds take seconds.
const FIRST_BUILD_MINUTES: u32 = 8;

#[derive(clap::Args)]
pub struct RunArguments {
    /// A recipe: its name under configs/, as in `cifar10/vgg5-cpu`, or its path
    recipe: String,
    /// Cargo features to build `lasnn` with, for instance `cuda`
    #[arg(long)]
    features: Option<String>,
    /// Arguments for `lasnn run`, for instance `-- --resume --set student.train.epochs=8`
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, arguments: &RunArguments) -> anyhow::Result<()> {
    let recipe = find_recipe(&workspace.root.join("configs"), &arguments.recipe)?;
    let binary = build(workspace, arguments.features.as_deref())?;
    let mut command = Command::new(binary);
    command.arg("run").arg(recipe).args(&arguments.arguments);
    become_command(command)
}

/// Builds the binary `lasnn` in the way that shares its dependencies with `cargo xtask test`.
fn build(workspace: &Workspace, features: Option<&str>) -> anyhow::Result<PathBuf> {
    let folder = workspace.target().join(PROFILE);
    let binary = folder.join(format!("lasnn{}", env::consts::EXE_SUFFIX));
    if !binary.is_file() {
        eprintln!(
            "building lasnn, about {FIRST_BUILD_MINUTES} minutes on two cores the first time"
        );
    }
    let mut command = workspace.cargo("build");
    command.args(Workspace::SHARED_BUILD).args(["--bin", "lasnn"]);
    for feature in features.into_iter().flat_map(|features| features.split([',', ' '])) {
        command.arg("--features").arg(format!("lasnn-cli/{feature}"));
    }
    finish(command)?;
    Ok(binary)
}

/// The file of a recipe given by its name under `configs`, or by its path.
///
/// # Errors
///
/// If there is no such recipe; the error lists all names.
pub fn find_recipe(configs: &Path, recipe: &str) -> anyhow::Result<PathBuf> {
    // Names have priority over paths, so that `quickstart` is the same recipe in every folder.
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

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        run: RunArguments,
    }

    #[test]
    fn arguments_for_lasnn_are_passed_on_as_they_are() {
        use clap::Parser;
        let options = ["--set", "student.train.epochs=8", "--set", "data.source=cifar10"];
        let typed = [&["run", "quickstart", "--"][..], &options].concat();
        let typed = Typed::parse_from(typed);
        assert_eq!(typed.run.recipe, "quickstart");
        assert_eq!(typed.run.arguments, options);
    }

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
    fn a_path_is_used_unchanged() {
        let configs = configs();
        let path = configs.path().join("notes.md");
        let found = find_recipe(configs.path(), &path.to_string_lossy()).unwrap();
        assert_eq!(found, path);
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_all_names() {
        let configs = configs();
        let error = find_recipe(configs.path(), "cifar10/vgg6").unwrap_err().to_string();
        assert!(error.contains("`cifar10/vgg6`"), "{error}");
        assert!(error.ends_with("cifar10/vgg5-cpu, quickstart"), "{error}");
    }

    #[test]
    fn a_folder_is_not_a_recipe() {
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
