//! The comparisons: networks, modes, sizes and firing rates.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The kind of step that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Class scores without gradients
    Infer,
    /// Forward, cross-entropy, backward, Adam
    Train,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Train => "train",
        }
    }
}

/// The number format of lasnn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// 32-bit floating point.
    #[default]
    F32,
    /// Weights rounded to integers of 12 bits, for inference.
    Int12,
    /// Weights rounded to bfloat16 in inference, `precision = "bf16"` in training.
    Bf16,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int12 => "int12",
            Self::Bf16 => "bf16",
        }
    }

    /// The formats in which a mode is measured.
    pub fn all(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Infer => &[Self::F32, Self::Int12, Self::Bf16],
            Mode::Train => &[Self::F32, Self::Bf16],
        }
    }
}

/// How an image becomes input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// The pixel is the current of every step
    Direct,
    /// A pixel spikes with its own value as probability
    Poisson,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Poisson => "poisson",
        }
    }
}

/// The weights of a network.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Random weights of a named architecture, with thresholds at which so many per cent of the
    /// neurons of every layer spike in a time step.
    Random { net: &'static str, percent: f64 },
    /// The weights of `--checkpoint`, with its own encoding and firing rates.
    Trained,
}

/// What lasnn is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Every peer.
    Peers,
    /// Itself on one thread.
    OneThread,
    /// Itself over twice as many time steps.
    TwiceTheSteps,
}

/// One comparison that can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub weights: Weights,
    pub mode: Mode,
    pub encoding: Encoding,
    pub time_steps: usize,
    pub batch: usize,
    pub against: Against,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, mode, encoding, time_steps, batch, against } = self;
        match weights {
            Weights::Random { net, percent } => write!(f, "{net}, {percent} %")?,
            Weights::Trained => write!(f, "trained student")?,
        }
        write!(f, ", {}, {}, T = {time_steps}, batch {batch}", mode.name(), encoding.name())?;
        match against {
            Against::Peers => Ok(()),
            Against::OneThread => write!(f, ", against one thread"),
            Against::TwiceTheSteps => write!(f, ", against twice the time steps"),
        }
    }
}

/// The networks, each with the batch size at which a step takes about a second.
pub const NETS: [(&str, usize); 4] = [("vgg5", 16), ("vgg9", 16), ("vgg16", 8), ("resnet12", 16)];

/// The firing rates at which inference is measured, in per cent.
const RATES: [f64; 4] = [2.0, 5.0, 10.0, 20.0];

/// The firing rate of everything else, in per cent. The targets are set for it.
const RATE: f64 = 5.0;

/// Few time steps, as with direct encoding, and many, as in the paper.
const STEPS: usize = 8;
const MANY_STEPS: usize = 100;

/// The comparisons of a table in `results/`, with a trained network if there is a checkpoint.
pub fn standard(trained: bool) -> Vec<Comparison> {
    let mut all = Vec::new();
    for (net, batch) in NETS {
        all.extend(RATES.map(|percent| plain(net, percent, Mode::Infer, STEPS, batch)));
        all.push(plain(net, RATE, Mode::Train, STEPS, batch));
    }
    let poisson = |comparison| Comparison { encoding: Encoding::Poisson, ..comparison };
    for mode in [Mode::Infer, Mode::Train] {
        all.push(poisson(plain("vgg5", RATE, mode, STEPS, 16)));
    }
    for batch in [4, 16] {
        all.push(poisson(plain("vgg5", RATE, Mode::Train, MANY_STEPS, batch)));
    }
    if trained {
        let comparison = plain("vgg5", RATE, Mode::Infer, STEPS, 16);
        all.push(Comparison { weights: Weights::Trained, ..comparison });
    }
    all.extend(ourselves("vgg5", STEPS, 16));
    all.extend(ourselves("resnet12", STEPS, 16));
    all
}

/// Small comparisons that take minutes in place of an hour. They test the programs; their times say
/// nothing about speed.
pub fn quick(trained: bool) -> Vec<Comparison> {
    let mut all = grid(&[RATE], 4, 2, Encoding::Direct);
    all.push(Comparison { encoding: Encoding::Poisson, ..plain("vgg5", RATE, Mode::Train, 4, 2) });
    if trained {
        all.push(Comparison {
            weights: Weights::Trained,
            ..plain("vgg5", RATE, Mode::Infer, 4, 2)
        });
    }
    all.retain(
        |comparison| !matches!(comparison.weights, Weights::Random { net, .. } if net != "vgg5"),
    );
    all.extend(ourselves("vgg5", 4, 2));
    all
}

/// Every network in both modes at the given firing rates and sizes.
pub fn grid(
    percents: &[f64],
    time_steps: usize,
    batch: usize,
    encoding: Encoding,
) -> Vec<Comparison> {
    let mut all = Vec::new();
    for (net, _) in NETS {
        for mode in [Mode::Infer, Mode::Train] {
            for &percent in percents {
                all.push(Comparison { encoding, ..plain(net, percent, mode, time_steps, batch) });
            }
        }
    }
    all
}

/// lasnn against itself: the gain of a second thread and the cost of twice the time steps.
fn ourselves(net: &'static str, time_steps: usize, batch: usize) -> Vec<Comparison> {
    let mut all = Vec::new();
    for against in [Against::OneThread, Against::TwiceTheSteps] {
        for mode in [Mode::Infer, Mode::Train] {
            all.push(Comparison { against, ..plain(net, RATE, mode, time_steps, batch) });
        }
    }
    all
}

fn plain(
    net: &'static str,
    percent: f64,
    mode: Mode,
    time_steps: usize,
    batch: usize,
) -> Comparison {
    Comparison {
        weights: Weights::Random { net, percent },
        mode,
        encoding: Encoding::Direct,
        time_steps,
        batch,
        against: Against::Peers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_has_every_network_at_every_rate_and_in_training() {
        let all = standard(true);
        for (net, _) in NETS {
            let has = |mode, percent| {
                all.iter().any(|comparison| {
                    comparison.weights == Weights::Random { net, percent }
                        && comparison.mode == mode
                        && comparison.against == Against::Peers
                })
            };
            assert!([2.0, 5.0, 10.0, 20.0].into_iter().all(|rate| has(Mode::Infer, rate)), "{net}");
            assert!(has(Mode::Train, 5.0), "{net}");
        }
        assert_eq!(
            all.iter().filter(|comparison| comparison.weights == Weights::Trained).count(),
            1
        );
        assert!(
            all.iter()
                .any(|comparison| comparison.time_steps == 100 && comparison.mode == Mode::Train)
        );
    }

    #[test]
    fn all_comparisons_have_different_names() {
        for all in [standard(true), quick(true), grid(&[5.0, 10.0], 8, 4, Encoding::Poisson)] {
            let mut names: Vec<String> = all.iter().map(ToString::to_string).collect();
            names.sort();
            for pair in names.windows(2) {
                assert_ne!(pair[0], pair[1]);
            }
        }
    }
}
