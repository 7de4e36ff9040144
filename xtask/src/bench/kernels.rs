//! `cargo xtask bench`: the criterion benchmarks.

use crate::workspace::{Workspace, finish};

#[derive(clap::Args)]
pub struct KernelArguments {
    /// What to pass on to criterion, for instance `-- scan` or `-- --measurement-time=2`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl KernelArguments {
    /// The benchmarks of these names, in place of those that criterion's own filter names.
    pub fn only(&self, names: &[String]) -> Self {
        let options = self.arguments.iter().filter(|word| word.starts_with('-')).cloned();
        let names: Vec<String> = names.iter().map(|name| regex_syntax::escape(name)).collect();
        let filter = format!("^({})$", names.join("|"));
        Self { arguments: options.chain([filter]).collect() }
    }
}

pub fn kernels(workspace: &Workspace, arguments: &KernelArguments) -> anyhow::Result<()> {
    let mut command = workspace.cargo("bench");
    command.args(["--package", "lasnn-benches", "--locked", "--benches"]);
    if !arguments.arguments.is_empty() {
        command.arg("--").args(&arguments.arguments);
    }
    finish(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_expressions() {
        let arguments = KernelArguments { arguments: vec!["--noplot".into(), "scan".into()] };
        let only = arguments.only(&["scan (CPU)/8".into(), "b".into()]);
        assert_eq!(only.arguments, ["--noplot", r"^(scan \(CPU\)/8|b)$"]);
    }
}
