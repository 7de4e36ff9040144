//! `cargo xtask bench`: the speed of lasnn, alone and compared with its peers.

mod compare;
mod destination;
mod environment;
mod kernels;
mod loading;
mod machine;
mod methods;
mod pair;
pub mod peers;
mod statistics;

use clap::Subcommand;

use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
    #[command(flatten)]
    kernels: kernels::KernelArguments,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Run the criterion benchmarks of single parts; this is the default
    Kernels(kernels::KernelArguments),
    /// Run the criterion benchmarks, and fail if one is slower than the committed baseline
    Compare(compare::CompareArguments),
    /// Measure what trained biases, thresholds, leaks and initial membranes cost, in turns
    Pair(pair::PairArguments),
    /// Measure what each loss of the student costs, in time and memory
    Methods(methods::MethodsArguments),
    /// Compare spiking networks with SpikingJelly and snnTorch, in turns on the same input
    Peers(peers::PeersArguments),
    /// Compare the data loader with torchvision's, in turns on the same files
    Loading(loading::LoadingArguments),
}

pub fn bench(workspace: &Workspace, arguments: &BenchArguments) -> anyhow::Result<()> {
    match &arguments.benchmark {
        None => kernels::kernels(workspace, &arguments.kernels),
        Some(Benchmark::Kernels(arguments)) => kernels::kernels(workspace, arguments),
        Some(Benchmark::Compare(arguments)) => compare::compare(workspace, arguments),
        Some(Benchmark::Pair(arguments)) => pair::pair(workspace, arguments),
        Some(Benchmark::Methods(arguments)) => methods::methods(workspace, arguments),
        Some(Benchmark::Peers(arguments)) => peers::peers(workspace, arguments),
        Some(Benchmark::Loading(arguments)) => loading::loading(workspace, arguments),
    }
}
