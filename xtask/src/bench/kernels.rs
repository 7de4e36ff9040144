//! `cargo xtask bench kernels`: the criterion benchmarks.

use crate::workspace::{Workspace, finish};

#[derive(clap::Args)]
pub struct KernelArguments {
    /// Arguments for criterion, for instance `-- scan` or `-- --measurement-time=2`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl KernelArguments {
    /// The same arguments, but with a filter that selects exactly the benchmarks with these names.
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
    fn names_are_not_regular_expressions() {
        let arguments = KernelArguments { arguments: vec!["--noplot".into(), "scan".into()] };
        let only = arguments.only(&["scan (CPU)/8".into(), "b".into()]);
        assert_eq!(only.arguments, ["--noplot", r"^(scan \(CPU\)/8|b)$"]);
    }
}
