//! `snn-step pair`: what trained parameters cost, as the ratio of two training steps in turns.

use std::time::Instant;

use burn::module::AutodiffModule;
use lasnn_core::{Layer, Precision};
use lasnn_neurons::{Direct, Encoding, InitialMembranePer, LifConfig};
use lasnn_nn::state;
use serde_json::json;

use crate::case::Case;
use crate::make::{self, Random};
use crate::step::{Step, Training};

#[derive(clap::Args)]
pub struct PairArguments {
    /// A network by its name, with random weights, on synthetic images
    #[arg(long)]
    net: String,
    /// What the second network trains beside the weights
    #[arg(long, value_enum)]
    with: Extra,
    /// The number format of a training step
    #[arg(long, value_enum, default_value = "bf16")]
    precision: PrecisionName,
    /// The number of pairs
    #[arg(long, default_value_t = 40)]
    pairs: usize,
    /// The number of images
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// The number of time steps
    #[arg(long, default_value_t = 8)]
    time_steps: usize,
    /// The firing rate of every layer, in spikes per neuron and time step
    #[arg(long, default_value_t = 0.1)]
    rate: f64,
}

/// Parameters that a network can train beside its weights.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Extra {
    /// A bias for each output channel of every layer
    Biases,
    /// A threshold for each layer
    Thresholds,
    /// A leak for each layer
    Leaks,
    /// An initial membrane potential for each neuron
    InitialMembranes,
}

/// The number formats of a training step by name.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum PrecisionName {
    F32,
    Bf16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Bf16 => Self::Bf16,
        }
    }
}

/// Times the steps, and prints one line of JSON.
pub fn pair(arguments: &PairArguments) -> anyhow::Result<()> {
    let PairArguments { batch, time_steps, rate, .. } = *arguments;
    let random = Random { net: &arguments.net, batch, time_steps, rate };
    let plain = make::random(&random, Encoding::Direct(Direct {}))?;
    let extended = extended(&plain, arguments.with)?;
    let precision = arguments.precision.into();
    let mut sides = [Training::new(&plain, precision)?, Training::new(&extended, precision)?];
    let mut seconds = [Vec::new(), Vec::new()];
    // The first pairs allocate memory, and are left out.
    for pair in 0..arguments.pairs + 2 {
        // The sides begin in turns.
        for side in [pair % 2, 1 - pair % 2] {
            let begun = Instant::now();
            sides[side].run();
            if pair >= 2 {
                seconds[side].push(begun.elapsed().as_secs_f64());
            }
        }
    }
    let line = json!({
        "net": arguments.net,
        "with": format!("{:?}", arguments.with).to_lowercase(),
        "precision": format!("{:?}", arguments.precision).to_lowercase(),
        "plain_seconds": seconds[0],
        "extended_seconds": seconds[1],
    });
    println!("{line}");
    Ok(())
}

/// The same network with more trained parameters, which compute the same: biases are 0, and initial
/// membrane potentials are at rest.
fn extended(plain: &Case, with: Extra) -> anyhow::Result<Case> {
    let mut about = plain.about.clone();
    let mut neurons = LifConfig::default();
    match with {
        Extra::Thresholds => neurons.threshold.train = true,
        Extra::Leaks => neurons.leak.train = true,
        Extra::InitialMembranes => {
            neurons.initial_membrane.train = true;
            neurons.initial_membrane.per = InitialMembranePer::Neuron;
        }
        Extra::Biases => {
            for layer in &mut about.architecture.layers {
                if let Layer::Conv { bias, .. }
                | Layer::Residual { bias, .. }
                | Layer::Linear { bias, .. }
                | Layer::Classifier { bias } = layer
                {
                    *bias = true;
                }
            }
        }
    }
    about.spiking.neuron = neurons.into();
    let mut case = Case { about, state: Default::default(), batch: plain.batch.clone() };
    let network = lasnn_snn::SpikingNetwork::<burn::backend::Autodiff<burn_flex::Flex>>::new(
        &case.about.plan()?,
        &case.about.spiking,
        case.about.time_steps,
        &Default::default(),
    )?;
    case.state = state::save(&network.valid());
    case.state.extend(plain.state.clone());
    Ok(case)
}
