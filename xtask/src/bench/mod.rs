//! `cargo xtask bench`: how fast we are, by ourselves and beside others.

mod compare;
mod environment;
mod kernels;
mod loading;
mod machine;
pub mod peers;
mod statistics;

use clap::Subcommand;

use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    kernels: kernels::KernelArguments,
}

#[derive(Subcommand)]
enum Which {
    /// Run the criterion benchmarks of single parts, as without a name
    Kernels(kernels::KernelArguments),
    /// Run them, and fail where one became slower than the committed baseline of this kind of machine
    Compare(compare::CompareArguments),
    /// Compare our spiking networks with SpikingJelly and snnTorch, in turns on the same input
    Peers(peers::PeersArguments),
    /// Compare how fast images are loaded with torchvision, in turns on the same files
    Loading(loading::LoadingArguments),
}

pub fn bench(workspace: &Workspace, arguments: &BenchArguments) -> anyhow::Result<()> {
    match &arguments.which {
        None => kernels::kernels(workspace, &arguments.kernels),
        Some(Which::Kernels(arguments)) => kernels::kernels(workspace, arguments),
        Some(Which::Compare(arguments)) => compare::compare(workspace, arguments),
        Some(Which::Peers(arguments)) => peers::peers(workspace, arguments),
        Some(Which::Loading(arguments)) => loading::loading(workspace, arguments),
    }
}
